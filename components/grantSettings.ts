import type { Grants, SchemaGrants } from "./render/roleSql";
import { databaseName } from "./settingChecks";
import type { SettingsReader } from "./settingsReader";

/** Reads what the role may read in these databases. */
export function readGrants(reader: SettingsReader, databases: readonly string[]): Grants {
  const way = reader.choice("grants", ["all", "schemas"]);
  const named = { schemas: readNames(reader, "grantSchemas"), owners: readNames(reader, "grantOwners") };
  const options = { bypassRls: reader.flag("bypassRls"), largeObjects: reader.flag("largeObjects") };
  if (way === "all") return { databases, grants: "all", ...options };
  const grants = databases.map((database): SchemaGrants => {
    const schemas = namesFor(database, named.schemas);
    const owners = namesFor(database, named.owners);
    const needed = (what: string) => `${what} for database ${database}: grants is "schemas"`;
    if (schemas.length === 0) reader.problem("grantSchemas", named.schemas, needed("the name of at least one schema"));
    if (owners.length === 0) {
      reader.problem("grantOwners", named.owners, needed("the name of at least one role that makes tables"));
    }
    return { database, schemas, owners };
  });
  refuseStrangers(reader, "grantSchemas", named.schemas, databases);
  refuseStrangers(reader, "grantOwners", named.owners, databases);
  return { databases, grants, ...options };
}

/** What is inherited may speak of the databases of other containers. */
function refuseStrangers(reader: SettingsReader, key: string, names: readonly string[], databases: readonly string[]) {
  if (!reader.own(key).has(key)) return;
  for (const name of names) {
    const [, database] = /^(.+)\|/.exec(name) ?? [];
    if (database === undefined || databases.includes(database)) continue;
    reader.problem(key, name, `one of databases in front of the |: ${databases.join(", ")}`);
  }
}

/** Names for one database or, without one in front, for all. */
function readNames(reader: SettingsReader, key: string): string[] {
  return reader.list(key, (value) => {
    const [name = "", database = name] = value.split("|").reverse();
    const parts = [name, database].map(databaseName);
    return value.split("|").length > 2 ? "name or database|name" : parts.find((problem) => problem !== undefined);
  });
}

function namesFor(database: string, names: readonly string[]): string[] {
  const own = names.flatMap((name) => {
    if (!name.includes("|")) return [name];
    return name.startsWith(`${database}|`) ? [name.slice(database.length + 1)] : [];
  });
  return [...new Set(own)];
}
