-- What a database is besides its content. Names of it are put in by psql.
alter database :"database" set work_mem = '7MB';
alter database :"database" set search_path = public, tools, "Schéma with, ""everything""";
alter database :"database" set app.tenant = E'it''s\nALTER DATABASE postgres SET work_mem TO ''1MB'';\n"';
alter database :"database" connection limit 17;
alter database :"database" is_template true;
alter role app in database :"database" set statement_timeout = '5min';
alter role "Odd, ""role""" in database :"database" set app.tenant = '';
revoke temporary on database :"database" from public;
grant connect on database :"database" to reader with grant option;
set role reader;
grant connect on database :"database" to "Odd, ""role""";
reset role;
comment on database :"database" is E'with "quotes", it''s\n-- Name: x; Type: DATABASE; Schema: -; Owner: nobody\nGRANT ALL ON DATABASE postgres TO app;';
