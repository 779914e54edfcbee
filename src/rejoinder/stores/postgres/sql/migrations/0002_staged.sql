-- What is large is staged: the bulk of a session's first append goes to the database by pieces, ahead of its commit.

-- Numbers under which the bulk of a session's first append is put away ahead of its commit. While there is no row in sessions
-- with that number, nothing of it is seen. Without an epoch it is to be dropped.
CREATE TABLE staged (
    n     bigint PRIMARY KEY,
    epoch bigint
);

DROP FUNCTION append_batch(
    bigint, text, bigint, text[], text[], integer[], bigint[], bigint[], integer[], integer[], text[],
    bytea[], integer[], integer[], text[], text[], bytea[], integer[], integer[], text[], text[], text[],
    bigint[], boolean[], integer[], integer[], text[], text[], integer[], text[], bigint[], bytea[],
    integer[], text[], text[], text[], text[]
);

-- Appends a batch: one call is one transaction and one round trip. Lists that belong together have a letter in common:
-- k the sessions, in ascending order of key; a the appends, with the place of their session in k; and by the place of
-- their append in a: h headers, e events, m new messages, d ended messages, o open replies, t texts.
--
-- What has been staged of an append is not among its lists: a_staged has its number, which becomes that of the session.
--
-- Returns a number for each append: the first seq, or -1 (another version), -2 (missing), -3 (exists); NULL where the lease
-- is gone. RJ001: the number of the batch is over. RJ002: another transaction made one of the sessions just now; ask again.
-- RJ003: what was staged is not there.
--
-- While a batch of many seconds runs nobody can renew the lease, so its time stands still.
--
-- Locks are taken in one order: the lease, then places in order of key, then new sessions in order of key. So two batches
-- never wait for each other, and that is why RJ002 does not go on and lock what it has found.
CREATE FUNCTION append_batch(
    of_epoch bigint, of_worker text, of_number bigint,
    k_owner text[], k_id text[],
    a_key integer[], a_expect bigint[], a_version bigint[], a_drafts integer[], a_staged bigint[],
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
    numbers bigint[];                       -- of each k: that under which its first append is staged
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
                UPDATE staged SET epoch = NULL WHERE n = a_staged[a];
                CONTINUE;
            END IF;
            numbers[k] := a_staged[a];
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
                IF numbers[k] IS NOT NULL THEN
                    DELETE FROM staged WHERE n = numbers[k] AND epoch = of_epoch;
                    IF NOT FOUND THEN
                        RAISE EXCEPTION 'what was staged of session % is gone', k_id[k] USING ERRCODE = 'RJ003';
                    END IF;
                END IF;
                INSERT INTO sessions (n, owner, id, updated_at, header) OVERRIDING SYSTEM VALUE
                SELECT coalesce(numbers[k], nextval('sessions_n_seq')), k_owner[k], k_id[k], h.updated_at, h.header
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

    UPDATE leases SET number = of_number, results = said,
        expires_at = expires_at + greatest(clock_timestamp() - now() - interval '1 second', interval '0')
    WHERE epoch = of_epoch;
    RETURN said;
END
$$;

-- Drops some of what was staged and never committed. Returns whether there may be more.
CREATE FUNCTION drop_staged(most bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    dead bigint;
    dropped bigint;
BEGIN
    UPDATE staged SET epoch = NULL
    WHERE n IN (
        SELECT n FROM staged AS s
        WHERE s.epoch IS NOT NULL AND NOT EXISTS (SELECT FROM leases AS l WHERE l.epoch = s.epoch)
        FOR UPDATE OF s SKIP LOCKED
    );
    SELECT n INTO dead FROM staged WHERE epoch IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM events WHERE session = dead
        AND seq IN (SELECT seq FROM events WHERE session = dead ORDER BY seq LIMIT most);
    GET DIAGNOSTICS dropped = ROW_COUNT;
    IF dropped = 0 THEN
        DELETE FROM messages WHERE session = dead
            AND created IN (SELECT created FROM messages WHERE session = dead ORDER BY created LIMIT most);
        GET DIAGNOSTICS dropped = ROW_COUNT;
    END IF;
    IF dropped = 0 THEN
        DELETE FROM texts WHERE session = dead
            AND message_id IN (SELECT message_id FROM texts WHERE session = dead ORDER BY message_id LIMIT most);
        GET DIAGNOSTICS dropped = ROW_COUNT;
    END IF;
    IF dropped = 0 THEN
        DELETE FROM staged WHERE n = dead;
    END IF;
    RETURN true;
END
$$;
