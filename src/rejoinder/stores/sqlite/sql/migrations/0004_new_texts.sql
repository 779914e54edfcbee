-- Texts that are committed and not yet in the index. To take in one text the index writes eight pages, and for fifty hardly
-- more: so they gather here, until there are many or somebody searches. `n` is what it will be among `texts`; empty words
-- take away what the message or the title had.
CREATE TABLE new_texts (
    n          INTEGER PRIMARY KEY,
    session    INTEGER NOT NULL,
    message_id TEXT,
    owner      INTEGER NOT NULL,
    at         TEXT    NOT NULL,
    words      TEXT    NOT NULL             -- with their mark
);
