/**
 * The tables, and what is said to each database. A write is one statement, in which the database itself checks whose the
 * session is: between a check and a write of our own somebody else could take it over, and a transaction costs as much as
 * three statements (and libsql forgets the settings of its connection after one). So the steps of a write live in the
 * database, as a trigger of a view in SQLite and as a function in PostgreSQL. Each of its steps sees what the step before
 * has done, and what whoever was waited for has left.
 *
 * A write carries a number that rises with each attempt. An attempt whose answer got lost may reach the database behind the
 * next one, in the same epoch; it is refused then, as an older epoch is.
 */
import { fencedMark } from "./errors.js"

/** Bumped with each change of the tables; `Dialect.steps` says how to come from one to the next. */
export const latest = 1

export interface Dialect {
  /** the table with the version, which each version has */
  readonly versionTable: string
  readonly readVersion: string
  readonly writeVersion: string
  /** statements that lead to version 1, from there to 2, …: each may have been done already */
  readonly steps: ReadonlyArray<ReadonlyArray<string>>
  /** what keeps others from changing the tables at the same time, until the end of the transaction */
  readonly lock: string | undefined
  /** takes the session over; gives the epoch */
  readonly take: string
  readonly rows: string
  readonly write: string
  readonly unfinished: string
}

const common = (p: string) => ({
  versionTable: `CREATE TABLE IF NOT EXISTS ${p}_version (one INTEGER PRIMARY KEY, version INTEGER NOT NULL)`,
  readVersion: `SELECT version FROM ${p}_version`,
  writeVersion: `INSERT INTO ${p}_version (one, version) VALUES (1, ${latest}) ON CONFLICT (one) DO UPDATE SET version = ${latest}`,
  unfinished: `SELECT id FROM ${p}_sessions WHERE open = 1`
})

/** The elements of a change within the JSON text of a write, and of a row within a change. */
const change = { session: 0, epoch: 1, attempt: 2, open: 3, rows: 4 }
const row = { kind: 0, id: 1, data: 2 }

/** Epochs are row ids that SQLite never gives twice, so they rise for a session that was removed, too. */
const sqlite = (p: string): Dialect => {
  const at = (value: string, index: number) => `json_extract(${value}, '$[${index}]')`
  const ofRow = (index: number) => at("c.value", index)
  return {
    ...common(p),
    lock: undefined,
    steps: [
      [
        `CREATE TABLE IF NOT EXISTS ${p}_sessions (
  epoch INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  attempt INTEGER NOT NULL DEFAULT 0,
  open INTEGER NOT NULL DEFAULT 0
)`,
        `CREATE TABLE IF NOT EXISTS ${p}_rows (
  session TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  data TEXT NOT NULL,
  PRIMARY KEY (session, kind, id)
) WITHOUT ROWID`,
        `CREATE VIEW IF NOT EXISTS ${p}_changes AS
  SELECT id AS session, epoch, attempt, open, '' AS changed FROM ${p}_sessions`,
        `CREATE TRIGGER IF NOT EXISTS ${p}_write INSTEAD OF INSERT ON ${p}_changes WHEN NEW.changed IS NOT NULL BEGIN
  SELECT RAISE(ABORT, '${fencedMark}') WHERE NOT EXISTS (
    SELECT 1 FROM ${p}_sessions WHERE id = NEW.session AND epoch = NEW.epoch AND attempt < NEW.attempt
  );
  UPDATE ${p}_sessions SET attempt = NEW.attempt, open = NEW.open WHERE id = NEW.session;
  DELETE FROM ${p}_rows WHERE session = NEW.session AND (kind, id) IN (
    SELECT ${ofRow(row.kind)}, ${ofRow(row.id)} FROM json_each(NEW.changed) AS c WHERE ${ofRow(row.data)} IS NULL
  );
  INSERT INTO ${p}_rows (session, kind, id, data)
    SELECT NEW.session, ${ofRow(row.kind)}, ${ofRow(row.id)}, ${ofRow(row.data)}
    FROM json_each(NEW.changed) AS c WHERE ${ofRow(row.data)} IS NOT NULL
    ON CONFLICT (session, kind, id) DO UPDATE SET data = excluded.data;
END`,
        `CREATE TRIGGER IF NOT EXISTS ${p}_remove INSTEAD OF INSERT ON ${p}_changes WHEN NEW.changed IS NULL BEGIN
  SELECT RAISE(ABORT, '${fencedMark}') WHERE EXISTS (
    SELECT 1 FROM ${p}_sessions WHERE id = NEW.session AND (epoch <> NEW.epoch OR attempt >= NEW.attempt)
  );
  DELETE FROM ${p}_rows WHERE session = NEW.session;
  DELETE FROM ${p}_sessions WHERE id = NEW.session;
END`
      ]
    ],
    // one parameter, named once: clients do not agree on `?1`
    take: `INSERT OR REPLACE INTO ${p}_sessions (id, open)
  SELECT g.id, coalesce(s.open, 0) FROM (SELECT ? AS id) AS g LEFT JOIN ${p}_sessions AS s ON s.id = g.id
  RETURNING epoch`,
    rows: `SELECT kind, id, data FROM ${p}_rows WHERE session = ?`,
    write: `INSERT INTO ${p}_changes (session, epoch, attempt, open, changed)
  SELECT ${at("w.value", change.session)}, ${at("w.value", change.epoch)}, ${at("w.value", change.attempt)},
    ${at("w.value", change.open)}, ${at("w.value", change.rows)} FROM json_each(?) AS w`
  }
}

const postgres = (p: string): Dialect => ({
  ...common(p),
  // two programs that start at once would both make what is missing
  lock: `SELECT pg_advisory_xact_lock(hashtext('${p}_version'))`,
  steps: [
    [
      `CREATE SEQUENCE IF NOT EXISTS ${p}_epochs`,
      // each write changes its session's row: with room on the page the index stays as it is
      `CREATE TABLE IF NOT EXISTS ${p}_sessions (
  id TEXT PRIMARY KEY,
  epoch BIGINT NOT NULL,
  attempt BIGINT NOT NULL DEFAULT 0,
  open INTEGER NOT NULL DEFAULT 0
) WITH (fillfactor = 70)`,
      `CREATE TABLE IF NOT EXISTS ${p}_rows (
  session TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  data TEXT NOT NULL,
  PRIMARY KEY (session, kind, id)
)`,
      // whoever takes the session over waits for the row that the first UPDATE has changed, and the other way round
      `CREATE OR REPLACE FUNCTION ${p}_write(changes TEXT) RETURNS VOID LANGUAGE plpgsql AS $body$
DECLARE
  c JSONB;
BEGIN
  FOR c IN SELECT value FROM jsonb_array_elements(changes::jsonb) LOOP
    IF jsonb_typeof(c->${change.rows}) = 'null' THEN
      DELETE FROM ${p}_sessions
        WHERE id = c->>${change.session} AND epoch = (c->>${change.epoch})::bigint AND attempt < (c->>${change.attempt})::bigint;
      IF NOT FOUND AND EXISTS (SELECT 1 FROM ${p}_sessions WHERE id = c->>${change.session}) THEN
        RAISE EXCEPTION '${fencedMark}';
      END IF;
      DELETE FROM ${p}_rows WHERE session = c->>${change.session};
    ELSE
      UPDATE ${p}_sessions SET attempt = (c->>${change.attempt})::bigint, open = (c->>${change.open})::integer
        WHERE id = c->>${change.session} AND epoch = (c->>${change.epoch})::bigint AND attempt < (c->>${change.attempt})::bigint;
      IF NOT FOUND THEN
        RAISE EXCEPTION '${fencedMark}';
      END IF;
      DELETE FROM ${p}_rows AS r USING jsonb_array_elements(c->${change.rows}) AS g(value)
        WHERE r.session = c->>${change.session} AND r.kind = g.value->>${row.kind} AND r.id = g.value->>${row.id}
          AND g.value->>${row.data} IS NULL;
      INSERT INTO ${p}_rows AS r (session, kind, id, data)
        SELECT c->>${change.session}, g.value->>${row.kind}, g.value->>${row.id}, g.value->>${row.data}
        FROM jsonb_array_elements(c->${change.rows}) AS g(value) WHERE g.value->>${row.data} IS NOT NULL
        ON CONFLICT (session, kind, id) DO UPDATE SET data = excluded.data;
    END IF;
  END LOOP;
END
$body$`
    ]
  ],
  take: `INSERT INTO ${p}_sessions AS s (id, epoch) VALUES ($1, nextval('${p}_epochs'))
  ON CONFLICT (id) DO UPDATE SET epoch = nextval('${p}_epochs'), attempt = 0 RETURNING s.epoch`,
  rows: `SELECT kind, id, data FROM ${p}_rows WHERE session = $1`,
  write: `SELECT ${p}_write($1)`
})

export const dialects = { sqlite, postgres }
