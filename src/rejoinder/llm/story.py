"""The story that the scripted provider tells: Markdown, and characters that break careless code."""

STORY = """\
# The Lamplighter's Last Round

Every evening, just as the harbour turned from silver to slate, old **Tomas** lit the lamps of Quay Street. There were \
*forty-one* of them, and he knew each by its cough.

1. He opened the little glass door.
2. He trimmed the wick, and said good evening to it.
3. He closed the door before the wind could answer.

One night a letter came: the town would have electric light 💡, and the lamps could rest. Tomas read it twice, put it \
in his cap, and went out all the same.

> “A light that is kept,” he used to say, “is kept by someone.”

His granddaughter Zoë had counted the lamps for him in her notebook:

```python
lamps = [f"lamp {number}" for number in range(1, 42)]
for lamp in lamps:
    print("good evening,", lamp)  # all of them 🏮
```

| hour | lamps | weather |
|------|-------|---------|
| six  | 12    | 🌫\ufe0f fog  |
| seven| 41    | ☔ rain  |

At the last lamp a whole family 👩\u200d👩\u200d👧\u200d👦 stood waiting: the baker with é in his name (he wrote it as \
e\u0301, to save ink), two sailors from 大阪, and a woman from Αθήνα who had crossed the sea to see one \
flame being lit by hand. Nobody spoke. Tomas struck a match — and the wind, for once, held its breath.

They say the lamp burns still. If you pass it, say good evening. ✨
"""
