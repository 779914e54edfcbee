"""Markdown that grows: wherever a drawing cuts a text, what stands there in the end is what all of it at once gives."""

from chat_page import Chat

TEXTS = [
    "```python\nx = 1\n```\nand on",
    "~~~\nx\n```\ny\n~~~\n\nand on\n\n```js\nopen",
    "- one\n  ```\n  inside\n  ```\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nA [link] and $x$.\n\n[link]: https://example.org",
    "# A heading\n> quoted\n> ```\n> code\n> ```\n\n    indented\n\n````\n```\n````\n***\nend",
    "```\r\nx\r\n```\r\nand on",
]

READ_IN_TWO_STEPS = """
async (texts) => {
  const { Blocks, htmlOf } = await import("/page/text/blocks.js");
  const htmlAll = (blocks) => blocks.map(htmlOf).join("");
  const wrong = [];
  for (const text of texts) {
    const whole = htmlAll(new Blocks().read(text, true));
    for (let first = 0; first <= text.length; first++) {
      for (let second = first; second <= text.length; second++) {
        const blocks = new Blocks();
        for (const length of [first, second]) blocks.read(text.slice(0, length), false);
        if (htmlAll(blocks.read(text, true)) !== whole) wrong.push([text, first, second]);
      }
    }
  }
  return wrong;
}
"""


def test_wherever_a_text_is_cut_the_same_is_drawn_in_the_end(chat: Chat) -> None:
    assert chat.page.evaluate(READ_IN_TWO_STEPS, TEXTS) == []
