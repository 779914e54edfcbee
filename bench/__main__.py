import sys

from bench import growth, run

if sys.argv[1:2] == ["growth"]:
    sys.exit(growth.main(sys.argv[2:]))
sys.exit(run.main())
