-- Queued replies too, which are nobody's (epoch NULL): so the sessions that are writing are found without reading headers.
DROP TABLE open_replies;
CREATE TABLE open_replies (
    session INTEGER NOT NULL,
    id      TEXT    NOT NULL,
    epoch   INTEGER,
    reply   BLOB    NOT NULL,               -- JSON
    PRIMARY KEY (session, id)
) WITHOUT ROWID;
INSERT INTO open_replies (session, id, epoch, reply)
SELECT n, json_extract(value, '$.id'), json_extract(value, '$.epoch'), CAST(value AS BLOB)
FROM sessions, json_each(CAST(header AS TEXT), '$.open');
