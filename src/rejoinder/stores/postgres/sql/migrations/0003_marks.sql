-- The marks of letters are parts of words. What was kept without them is read again, which no SQL can: see postgres/schema.py.
COMMENT ON COLUMN texts.words IS 'with the marks of their letters';
