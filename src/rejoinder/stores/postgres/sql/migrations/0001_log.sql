-- A session's number stands for its key in every other table, so that their rows are small. COLLATE "C" is the order of
-- code points in UTF-8, whatever the database was made with.
CREATE TABLE sessions (
    n          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    header     bytea NOT NULL               -- JSON; its last_seq is not kept up, see places
);
CREATE UNIQUE INDEX sessions_by_key ON sessions (owner, id);
CREATE INDEX sessions_by_activity ON sessions (owner, updated_at DESC, id DESC);
CREATE INDEX sessions_by_idleness ON sessions (updated_at);

-- Where each session stands. Apart from the header, since every delta moves it: these rows are small, have no other index
-- and room beside them, so that Postgres rewrites them in place (HOT). Whoever writes a session holds its row here.
CREATE TABLE places (
    session  bigint PRIMARY KEY,
    version  bigint NOT NULL,
    last_seq bigint NOT NULL
) WITH (fillfactor = 50);

-- The log: a heap in order of arrival, as the deltas of all live replies are committed together, and a narrow index.
CREATE TABLE events (
    session    bigint NOT NULL,
    seq        bigint NOT NULL,
    type       text COLLATE "C" NOT NULL,
    message_id text COLLATE "C",
    data       bytea NOT NULL,              -- the very bytes of the draft
    PRIMARY KEY (session, seq)
);

-- The message index. `ripe_at` is the time at which an append ended it, until it is compacted.
CREATE TABLE messages (
    session   bigint NOT NULL,
    created   bigint NOT NULL,
    id        text COLLATE "C" NOT NULL,
    parent_id text COLLATE "C",
    lane      text COLLATE "C" NOT NULL,
    depth     bigint NOT NULL,
    ended     bigint,
    ripe_at   text COLLATE "C",
    PRIMARY KEY (session, created)
);
CREATE UNIQUE INDEX messages_by_id ON messages (session, id);
CREATE INDEX messages_by_parent ON messages (session, parent_id, created);
CREATE INDEX messages_by_lane ON messages (session, lane, depth);
CREATE INDEX messages_ripe ON messages (ripe_at) WHERE ripe_at IS NOT NULL;

-- The open replies of all headers, so that orphans and the sessions that are writing are found without reading headers. One
-- that waits in the queue is nobody's: it has no epoch.
CREATE TABLE open_replies (
    session bigint NOT NULL,
    id      text COLLATE "C" NOT NULL,
    epoch   bigint,
    reply   bytea NOT NULL,                 -- JSON
    PRIMARY KEY (session, id)
);

-- What a search finds; the title's message_id is ''. `words` hold one more word, "_" and a hash of the owner, which no text
-- can have: with it a search walks down the postings of one owner alone.
CREATE TABLE texts (
    session    bigint NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    owner      text COLLATE "C" NOT NULL,
    at         text COLLATE "C" NOT NULL,
    words      tsvector NOT NULL,
    PRIMARY KEY (session, message_id)
);
CREATE INDEX texts_by_time ON texts (owner, at DESC);
-- What is new gathers in a list that every search reads: kept short, it costs neither a search nor a commit much.
CREATE INDEX texts_by_word ON texts USING gin (words) WITH (fastupdate = on, gin_pending_list_limit = 256);

-- A lease that is revoked or released is deleted. An identity is never given twice.
CREATE TABLE leases (
    epoch      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker     text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    number     bigint NOT NULL DEFAULT 0,   -- of the last batch
    results    bigint[] NOT NULL DEFAULT '{}' -- of the last batch
) WITH (fillfactor = 20);

-- One row that is written to learn whether the store can be written.
CREATE TABLE health (
    one   integer PRIMARY KEY CHECK (one = 1),
    pings bigint NOT NULL
);
INSERT INTO health VALUES (1, 0);


-- Appends a batch: one call is one transaction and one round trip. Lists that belong together have a letter in common:
-- k the sessions, in ascending order of key; a the appends, with the place of their session in k; and by the place of
-- their append in a: h headers, e events, m new messages, d ended messages, o open replies, t texts.
--
-- Returns a number for each append: the first seq, or -1 (another version), -2 (missing), -3 (exists); NULL where the lease
-- is gone. RJ001: the number of the batch is over. RJ002: another transaction made one of the sessions just now; ask again.
--
-- Locks are taken in one order: the lease, then places in order of key, then new sessions in order of key. So two batches
-- never wait for each other, and that is why RJ002 does not go on and lock what it has found.
CREATE FUNCTION append_batch(
    of_epoch bigint, of_worker text, of_number bigint,
    k_owner text[], k_id text[],
    a_key integer[], a_expect bigint[], a_version bigint[], a_drafts integer[],
    h_append integer[], h_updated_at text[], h_header bytea[],
    e_append integer[], e_at integer[], e_type text[], e_message_id text[], e_data bytea[],
    m_append integer[], m_at integer[], m_id text[], m_parent_id text[], m_lane text[], m_depth bigint[], m_ended boolean[],
    d_append integer[], d_at integer[], d_id text[], d_ended_at text[],
    o_append integer[], o_id text[], o_epoch bigint[], o_reply bytea[],
    t_append integer[], t_message_id text[], t_at text[], t_words text[], t_mark text[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    held leases%ROWTYPE;
    ns bigint[];                            -- of each k: the session's number, NULL where there is none
    versions bigint[];
    lasts bigint[];
    shown integer[] := array_fill(0, ARRAY[cardinality(k_id)]);   -- of each k: the append whose header stays
    touched boolean[] := array_fill(false, ARRAY[cardinality(k_id)]);
    said bigint[] := array_fill(0::bigint, ARRAY[cardinality(a_key)]);
    k integer;
    made bigint;
BEGIN
    SELECT * INTO held FROM leases WHERE epoch = of_epoch AND worker = of_worker FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF held.number = of_number THEN
        RETURN held.results;
    ELSIF held.number > of_number THEN
        RAISE EXCEPTION 'batch % comes after batch %', of_number, held.number USING ERRCODE = 'RJ001';
    END IF;

    WITH locked AS (
        SELECT key.place, p.session, p.version, p.last_seq
        FROM unnest(k_owner, k_id) WITH ORDINALITY AS key (owner, id, place)
            JOIN sessions AS s ON s.owner = key.owner AND s.id = key.id
            JOIN places AS p ON p.session = s.n
        ORDER BY key.place
        FOR UPDATE OF p
    )
    SELECT array_agg(l.session ORDER BY place), array_agg(l.version ORDER BY place), array_agg(l.last_seq ORDER BY place)
    INTO ns, versions, lasts
    FROM generate_series(1, cardinality(k_id)) AS place LEFT JOIN locked AS l USING (place);

    -- What becomes of each append, with nothing written: a later one sees the earlier.
    FOR a IN 1 .. cardinality(a_key) LOOP
        k := a_key[a];
        IF a_expect[a] = 0 THEN
            IF versions[k] IS NOT NULL THEN
                said[a] := -3;
                CONTINUE;
            END IF;
        ELSIF versions[k] IS NULL THEN
            said[a] := -2;
            CONTINUE;
        ELSIF a_expect[a] <> versions[k] THEN
            said[a] := -1;
            CONTINUE;
        END IF;
        said[a] := coalesce(lasts[k], 0) + 1;
        lasts[k] := said[a] + a_drafts[a] - 1;
        touched[k] := true;
        IF a_version[a] IS NOT NULL THEN
            versions[k] := a_version[a];
            shown[k] := a;
        END IF;
    END LOOP;

    -- Sessions and headers.
    IF cardinality(h_append) > 0 THEN
        UPDATE sessions AS s SET updated_at = h.updated_at, header = h.header
        FROM unnest(h_append, h_updated_at, h_header) AS h (a, updated_at, header)
        WHERE shown[a_key[h.a]] = h.a AND s.n = ns[a_key[h.a]];
        FOR k IN 1 .. cardinality(k_id) LOOP
            IF ns[k] IS NULL AND shown[k] > 0 THEN
                INSERT INTO sessions (owner, id, updated_at, header)
                SELECT k_owner[k], k_id[k], h.updated_at, h.header
                FROM unnest(h_append, h_updated_at, h_header) AS h (a, updated_at, header)
                WHERE h.a = shown[k]
                ON CONFLICT DO NOTHING
                RETURNING n INTO made;
                IF made IS NULL THEN
                    RAISE EXCEPTION 'session % was made just now', k_id[k] USING ERRCODE = 'RJ002';
                END IF;
                INSERT INTO places (session, version, last_seq) VALUES (made, versions[k], lasts[k]);
                ns[k] := made;
                touched[k] := false;
                made := NULL;
            END IF;
        END LOOP;
        DELETE FROM open_replies
        WHERE session IN (SELECT ns[place] FROM generate_series(1, cardinality(k_id)) AS place WHERE shown[place] > 0);
        INSERT INTO open_replies (session, id, epoch, reply)
        SELECT ns[a_key[o.a]], o.id, o.epoch, o.reply
        FROM unnest(o_append, o_id, o_epoch, o_reply) AS o (a, id, epoch, reply)
        WHERE shown[a_key[o.a]] = o.a;
    END IF;
    UPDATE places AS p SET version = versions[place], last_seq = lasts[place]
    FROM generate_series(1, cardinality(k_id)) AS place
    WHERE touched[place] AND p.session = ns[place];

    -- The log and the index.
    INSERT INTO events (session, seq, type, message_id, data)
    SELECT ns[a_key[e.a]], said[e.a] + e.at, e.type, e.message_id, e.data
    FROM unnest(e_append, e_at, e_type, e_message_id, e_data) AS e (a, at, type, message_id, data)
    WHERE said[e.a] > 0;
    IF cardinality(m_append) > 0 THEN
        INSERT INTO messages (session, created, id, parent_id, lane, depth, ended)
        SELECT ns[a_key[m.a]], said[m.a] + m.at, m.id, m.parent_id, m.lane, m.depth,
            CASE WHEN m.ended THEN said[m.a] + m.at END
        FROM unnest(m_append, m_at, m_id, m_parent_id, m_lane, m_depth, m_ended)
            AS m (a, at, id, parent_id, lane, depth, ended)
        WHERE said[m.a] > 0;
    END IF;
    IF cardinality(d_append) > 0 THEN
        UPDATE messages AS m SET ended = said[d.a] + d.at, ripe_at = d.ended_at
        FROM unnest(d_append, d_at, d_id, d_ended_at) AS d (a, at, id, ended_at)
        WHERE said[d.a] > 0 AND m.session = ns[a_key[d.a]] AND m.id = d.id;
    END IF;
    IF cardinality(t_append) > 0 THEN
        WITH new AS (
            SELECT DISTINCT ON (t.a_session, t.message_id) t.*
            FROM (
                SELECT ns[a_key[t.a]] AS a_session, k_owner[a_key[t.a]] AS owner, t.*
                FROM unnest(t_append, t_message_id, t_at, t_words, t_mark) WITH ORDINALITY
                    AS t (a, message_id, at, words, mark, place)
                WHERE said[t.a] > 0
            ) AS t
            ORDER BY t.a_session, t.message_id, t.place DESC
        ), gone AS (
            DELETE FROM texts USING new
            WHERE texts.session = new.a_session AND texts.message_id = new.message_id AND new.words = ''
        )
        INSERT INTO texts (session, message_id, owner, at, words)
        SELECT new.a_session, new.message_id, new.owner, new.at,
            array_to_tsvector(array_append(string_to_array(new.words, ' '), new.mark))
        FROM new
        WHERE new.words <> ''
        ON CONFLICT (session, message_id) DO UPDATE SET at = excluded.at, words = excluded.words;
    END IF;

    UPDATE leases SET number = of_number, results = said WHERE epoch = of_epoch;
    RETURN said;
END
$$;


-- Deletes a session at a version, with all that belongs to it. True also where there is none.
CREATE FUNCTION delete_session(of_owner text, of_id text, of_version bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    held places%ROWTYPE;
BEGIN
    SELECT p.* INTO held
    FROM sessions AS s JOIN places AS p ON p.session = s.n
    WHERE s.owner = of_owner AND s.id = of_id
    FOR UPDATE OF p;
    IF NOT FOUND THEN
        RETURN true;
    ELSIF held.version <> of_version THEN
        RETURN false;
    END IF;
    DELETE FROM events WHERE session = held.session;
    DELETE FROM messages WHERE session = held.session;
    DELETE FROM open_replies WHERE session = held.session;
    DELETE FROM texts WHERE session = held.session;
    DELETE FROM places WHERE session = held.session;
    DELETE FROM sessions WHERE n = held.session;
    RETURN true;
END
$$;


-- Drops the events of some types that stand before the ends of some ended messages.
CREATE FUNCTION compact_messages(of_owner text, of_id text, ids text[], types text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    held bigint;
BEGIN
    SELECT p.session INTO held
    FROM sessions AS s JOIN places AS p ON p.session = s.n
    WHERE s.owner = of_owner AND s.id = of_id
    FOR UPDATE OF p;
    DELETE FROM events AS e USING messages AS m
    WHERE m.session = held AND m.id = ANY (ids) AND m.ended IS NOT NULL
        AND e.session = held AND e.seq >= m.created AND e.seq < m.ended
        AND e.message_id = m.id AND e.type = ANY (types);
    UPDATE messages SET ripe_at = NULL WHERE session = held AND id = ANY (ids) AND ended IS NOT NULL;
END
$$;


-- Questions whose best plan depends on the words that are asked for: rare ones are looked up, frequent ones are met soon on the
-- way from the latest text on. EXECUTE plans them anew each time.
CREATE FUNCTION search_texts(of_owner text, wanted text, most bigint)
RETURNS TABLE (found_session text, found_message text) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY EXECUTE '
        SELECT s.id, t.message_id
        FROM texts AS t JOIN sessions AS s ON s.n = t.session
        WHERE t.owner = $1 AND t.words @@ $2::tsquery AND t.message_id <> ''''
        ORDER BY t.at DESC
        LIMIT $3' USING of_owner, wanted, most;
END
$$;

-- The newest sessions are gone through one by one, where frequent words are met soon, as long as what is met there promises a
-- full page within 2,000 of them; behind them the words are looked up. Left to the planner, who does not know which sessions
-- have the words, a page could cost a walk through all.
CREATE FUNCTION search_sessions(of_owner text, wanted text, after_updated_at text, after_id text, most bigint)
RETURNS TABLE (found_header bytea, found_last_seq bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
    stretch bigint := 100;
    walked bigint := 0;
    found_so_far bigint := 0;
    found_here bigint;
    last record;
BEGIN
    SELECT after_updated_at AS updated_at, after_id AS id INTO last;
    LOOP
        RETURN QUERY EXECUTE '
            SELECT s.header, p.last_seq
            FROM (
                SELECT n, updated_at, id, header FROM sessions
                WHERE owner = $1 AND ($3 IS NULL OR (updated_at, id) < ($3, $4))
                ORDER BY updated_at DESC, id DESC
                LIMIT $6
            ) AS s JOIN places AS p ON p.session = s.n
            WHERE EXISTS (SELECT FROM texts AS t WHERE t.session = s.n AND t.words @@ $2::tsquery)
            ORDER BY s.updated_at DESC, s.id DESC
            LIMIT $5' USING of_owner, wanted, last.updated_at, last.id, most - found_so_far, stretch;
        GET DIAGNOSTICS found_here = ROW_COUNT;
        found_so_far := found_so_far + found_here;
        IF found_so_far = most THEN
            RETURN;
        END IF;
        SELECT s.updated_at, s.id INTO last FROM sessions AS s
        WHERE s.owner = of_owner AND (last.updated_at IS NULL OR (s.updated_at, s.id) < (last.updated_at, last.id))
        ORDER BY s.updated_at DESC, s.id DESC
        OFFSET stretch - 1 LIMIT 1;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        walked := walked + stretch;
        EXIT WHEN found_so_far * 2000 < most * walked;
        stretch := stretch * 2;
    END LOOP;
    RETURN QUERY EXECUTE '
        WITH found AS MATERIALIZED (SELECT DISTINCT session FROM texts WHERE words @@ $2::tsquery)
        SELECT s.header, p.last_seq
        FROM found JOIN sessions AS s ON s.n = found.session JOIN places AS p ON p.session = s.n
        WHERE s.owner = $1 AND (s.updated_at, s.id) < ($3, $4)
        ORDER BY s.updated_at DESC, s.id DESC
        LIMIT $5' USING of_owner, wanted, last.updated_at, last.id, most - found_so_far;
END
$$;
