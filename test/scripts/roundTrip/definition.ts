/** A database with something of everything, in files of SQL, and how its dumps are compared. */
import * as path from "node:path";

/** Path of a file of SQL: what a database is, what its owner may make, what only a superuser can make; in that order. */
export const definition = (name: "database" | "ofItsOwner" | "ofASuperuser"): string =>
  path.join(__dirname, `${name}.sql`);

/**
 * Of a text of pg_dump, what a round trip can keep:
 *
 * - Options of user mappings hold passwords. Whoever is no superuser does not see them, nor does the backup's role, so no
 *   dump of it has them: the job warns of that each night.
 * - PostgreSQL writes a list of texts that are compared with a varchar as a cast of the list, and reads that back as a
 *   list of casts: the same condition in other words, after the first round trip and not again.
 * - Newer versions put a random key into each dump, against psql's commands in it.
 */
export function comparable(text: string): string {
  return text
    .replace(/^\\(un)?restrict .*$/gm, "")
    .replace(/^(CREATE USER MAPPING FOR \w+ SERVER \w+) OPTIONS \([^)]*\);$/gm, "$1;")
    .replace(
      /\(ARRAY\[((?:'\w+'::character varying(?:, )?)+)\]\)::text\[\]/g,
      (_, list: string) => `ARRAY[${list.replace(/'\w+'::character varying/g, "($&)::text")}]`,
    );
}
