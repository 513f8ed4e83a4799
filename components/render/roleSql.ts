import { connectionName, sqlIdentifier, sqlLiteral } from "./quote";

/** What a read-only role may do, and where. */
export interface Grants {
  readonly databases: readonly string[];
  /** All that there is may be read (pg_read_all_data), or only these schemas. */
  readonly grants: "all" | readonly SchemaGrants[];
  /** Whether row-level security does not apply to it. */
  readonly bypassRls: boolean;
  /** Whether it may open every large object. */
  readonly largeObjects: boolean;
}

/** What of one database may be read. */
export interface SchemaGrants {
  readonly database: string;
  readonly schemas: readonly string[];
  /** Roles whose later tables and sequences in those schemas may be read, too. */
  readonly owners: readonly string[];
}

export interface RoleSqlArgs extends Grants {
  readonly role: string;
  readonly connectionLimit: number;
}

/**
 * Renders the psql script that makes a role read-only: it may log in (without a password), connect to the databases and
 * read what it is granted, and nothing else. What else it was given is taken away again; databases that are not named
 * here are the agent's part (agent/role.sh), since only it knows them.
 *
 * A dump that is being made meanwhile misses nothing: what may be read stays readable, whichever way it was granted
 * before. What is new is given first, each database changes in one transaction, memberships go last.
 *
 * pg_read_all_data exists since PostgreSQL 14.
 */
export function renderRoleSql(args: RoleSqlArgs): string {
  const { grants } = args;
  const sections = args.databases.map((database) =>
    renderDatabase(args, database, grants === "all" ? [] : grants.filter((each) => each.database === database)),
  );
  return [renderRole(args), renderConnect(args), ...sections, renderMemberships(args)].join("\n");
}

function renderRole({ role, connectionLimit, bypassRls, largeObjects, grants }: RoleSqlArgs): string {
  const name = sqlIdentifier(role);
  const literal = sqlLiteral(role);
  const settings = ["default_transaction_read_only", ...(largeObjects ? ["lo_compat_privileges"] : [])];
  return `SELECT ${sqlLiteral(`CREATE ROLE ${name}`)} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${literal}) \\gexec
ALTER ROLE ${name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION ${bypassRls ? "BYPASSRLS" : "NOBYPASSRLS"} INHERIT
  CONNECTION LIMIT ${connectionLimit} PASSWORD NULL VALID UNTIL 'infinity';
${grants === "all" ? `GRANT pg_read_all_data TO ${name};\n` : ""}
-- No settings but these.
BEGIN;
ALTER ROLE ${name} RESET ALL;
SELECT format('ALTER ROLE %I IN DATABASE %I RESET ALL', r.rolname, d.datname)
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole JOIN pg_database d ON d.oid = s.setdatabase
 WHERE r.rolname = ${literal} \\gexec
${settings.map((setting) => `ALTER ROLE ${name} SET ${setting} = on;`).join("\n")}
COMMIT;
`;
}

/**
 * No privilege on what all databases share but to connect to these. DROP OWNED, which comes once more in each database,
 * takes that away each time; `:connect` gives it back. The agent has made sure that the role owns nothing.
 */
function renderConnect({ role, databases }: RoleSqlArgs): string {
  const name = sqlIdentifier(role);
  return `-- No privilege on databases but to connect to these.
BEGIN;
DROP OWNED BY ${name};
${databases.map((database) => `GRANT CONNECT ON DATABASE ${sqlIdentifier(database)} TO ${name};`).join("\n")}
COMMIT;
SELECT string_agg(format('GRANT CONNECT ON DATABASE %I TO %I;', d.datname, r.rolname), ' ') AS connect
  FROM pg_database d, aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = ${sqlLiteral(role)} \\gset
`;
}

/** No privileges in a database but these. */
function renderDatabase({ role }: RoleSqlArgs, database: string, grants: readonly SchemaGrants[]): string {
  const name = sqlIdentifier(role);
  const lines = grants.flatMap(({ schemas, owners }) =>
    schemas.map(sqlIdentifier).flatMap((schema) => [
      `GRANT USAGE ON SCHEMA ${schema} TO ${name};`,
      `GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO ${name};`,
      `GRANT SELECT ON ALL SEQUENCES IN SCHEMA ${schema} TO ${name};`,
      ...owners.map(sqlIdentifier).flatMap((owner) => {
        const later = `ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} IN SCHEMA ${schema} GRANT SELECT ON`;
        return [`${later} TABLES TO ${name};`, `${later} SEQUENCES TO ${name};`];
      }),
    ]),
  );
  return `\\connect ${sqlIdentifier(connectionName(database))}
BEGIN;
DROP OWNED BY ${name};
${[":connect", ...lines].join("\n")}
COMMIT;
`;
}

/**
 * No membership but the one, and no members. Since PostgreSQL 16 a membership is its grantor's to revoke, several may
 * have granted the same, and one may be without its privileges (inherit_option, which to_jsonb asks for in any version).
 */
function renderMemberships({ role, grants }: RoleSqlArgs): string {
  const literal = sqlLiteral(role);
  const kept = `g.rolname = 'pg_read_all_data' AND NOT m.admin_option AND NOT to_jsonb(m) @> '{"inherit_option": false}'`;
  return `-- ${grants === "all" ? "No membership but one" : "No membership"}, and no members.
BEGIN;
SELECT format('REVOKE %I FROM %I%s CASCADE', g.rolname, r.rolname, ' GRANTED BY ' || quote_ident(b.rolname))
  FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
       LEFT JOIN pg_roles b ON b.oid = m.grantor
 WHERE ${literal} IN (g.rolname, r.rolname)${grants === "all" ? `\n   AND NOT (${kept})` : ""} \\gexec
${grants === "all" ? `GRANT pg_read_all_data TO ${sqlIdentifier(role)};\n` : ""}COMMIT;
`;
}
