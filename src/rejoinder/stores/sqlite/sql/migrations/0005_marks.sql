-- The marks of letters are parts of words: words that were kept without them are read again, from the message or the title. The
-- functions are those of rereading.py; each text begins with its mark of an owner, which stays.
UPDATE new_texts SET words = read_again(
    words,
    CASE
        WHEN message_id IS NULL THEN (SELECT header FROM sessions WHERE n = new_texts.session)
        ELSE (
            SELECT data FROM events WHERE events.session = new_texts.session AND seq = (
                SELECT ended FROM messages WHERE messages.session = new_texts.session AND id = new_texts.message_id
            )
        )
    END
)
WHERE lacks_marks(words);

UPDATE word_index SET words = (
    SELECT read_again(
        word_index.words,
        CASE
            WHEN t.message_id IS NULL THEN (SELECT header FROM sessions WHERE n = t.session)
            ELSE (
                SELECT data FROM events WHERE events.session = t.session AND seq = (
                    SELECT ended FROM messages WHERE messages.session = t.session AND id = t.message_id
                )
            )
        END
    )
    FROM texts AS t WHERE t.n = word_index.rowid
)
WHERE rowid IN (SELECT n FROM texts) AND lacks_marks(words);
