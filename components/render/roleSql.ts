import { sqlIdentifier, sqlLiteral } from "./quote";

export interface RoleSqlArgs {
  readonly role: string;
  readonly connectionLimit: number;
  readonly databases: readonly string[];
}

/**
 * Renders the psql script that makes a role read-only: it may log in (without a password), connect to the databases and
 * read all their data, and nothing else. What else it was given is taken away again; privileges inside databases are
 * the agent's part (agent/role.sh), since only it knows all databases.
 *
 * pg_read_all_data exists since PostgreSQL 14.
 */
export function renderRoleSql({ role, connectionLimit, databases }: RoleSqlArgs): string {
  const name = sqlIdentifier(role);
  const literal = sqlLiteral(role);
  return `SELECT ${sqlLiteral(`CREATE ROLE ${name}`)} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ${literal}) \\gexec
ALTER ROLE ${name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT
  CONNECTION LIMIT ${connectionLimit} PASSWORD NULL VALID UNTIL 'infinity';

-- No membership but one, and no members.
SELECT format('REVOKE %I FROM %I', g.rolname, r.rolname)
  FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
 WHERE ${literal} IN (g.rolname, r.rolname) AND (g.rolname <> 'pg_read_all_data' OR m.admin_option) \\gexec
GRANT pg_read_all_data TO ${name};

-- No setting but one.
ALTER ROLE ${name} RESET ALL;
SELECT format('ALTER ROLE %I IN DATABASE %I RESET ALL', r.rolname, d.datname)
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole JOIN pg_database d ON d.oid = s.setdatabase
 WHERE r.rolname = ${literal} \\gexec
ALTER ROLE ${name} SET default_transaction_read_only = on;

-- No privilege on databases but to connect to these.
BEGIN;
SELECT format('REVOKE ALL ON DATABASE %I FROM %I', d.datname, r.rolname)
  FROM pg_database d, aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = ${literal} \\gexec
${databases.map((database) => `GRANT CONNECT ON DATABASE ${sqlIdentifier(database)} TO ${name};`).join("\n")}
COMMIT;
`;
}
