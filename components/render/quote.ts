/**
 * Every way a value is quoted before it enters a text that something else parses. Nothing outside this file quotes.
 *
 * `test/unit/quote.test.ts` runs each function against the real parser (bash, psql) with generated hostile values.
 */

/** Quotes a value as one word of a POSIX shell; words that need no quotes stay as they are, for the reader's sake. */
export function shellWord(value: string): string {
  refuseNul("a shell word", value);
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(value) ? value : shellString(value);
}

/** Quotes a value as one word of a POSIX shell, always with single quotes: the form of assignments in backup.env. */
export function shellString(value: string): string {
  refuseNul("a shell word", value);
  return `'${value.replaceAll("'", "'\\''")}'`;
}

/** Quotes an identifier for SQL, e.g. `role` → `"role"`. Case and any other character are kept as they are. */
export function sqlIdentifier(name: string): string {
  refuseNul("an SQL identifier", name);
  return `"${name.replaceAll('"', '""')}"`;
}

/** Quotes a string literal for SQL; independent of `standard_conforming_strings`. */
export function sqlLiteral(value: string): string {
  refuseNul("an SQL literal", value);
  const quoted = `'${value.replaceAll("'", "''")}'`;
  return value.includes("\\") ? ` E${quoted.replaceAll("\\", "\\\\")}` : quoted;
}

/**
 * Names a database to a PostgreSQL client. A plain name stays as it is; libpq takes one that contains `=` or begins
 * with `postgres://` for a connection string, so any other becomes one.
 */
export function connectionName(database: string): string {
  refuseNul("a database name", database);
  if (/^[A-Za-z0-9_]+$/.test(database)) return database;
  return `dbname='${database.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/**
 * Writes a database's name as part of a file name that no shell minds: bytes outside `A-Za-z0-9._-` as `~XX`, as
 * scripts/lib/names.sh does.
 */
export function fileNamePart(database: string): string {
  return [...Buffer.from(database)]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9._-]/.test(character) ? character : `~${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    })
    .join("");
}

function refuseNul(what: string, value: string): void {
  if (value.includes("\0")) {
    throw new RangeError(`${what} cannot hold a NUL character: ${JSON.stringify(value)}`);
  }
}
