-- What else there can be, and only a superuser can make: --as and --into bring it back, --new cannot.
create schema theirs authorization reader;
create table theirs.notes (id int primary key, body text);
alter table theirs.notes owner to reader;
insert into theirs.notes values (1, 'theirs');
alter default privileges for role reader in schema theirs grant insert on tables to "Odd, ""role""";
alter large object 4713 owner to reader;

create extension file_fdw;
create extension "uuid-ossp" schema tools;
create server files foreign data wrapper file_fdw;
create foreign table users_of_machine (line text) server files options (filename '/etc/hostname', format 'text', null '');
create extension postgres_fdw;
create server abroad foreign data wrapper postgres_fdw options (host 'db.example', dbname 'it''s');
create user mapping for app server abroad options (user 'remote', password_required 'false');
grant usage on foreign server abroad to app;

create function noticed() returns event_trigger language plpgsql as $$ begin end $$;
create event trigger on_changes on ddl_command_end when tag in ('CREATE TABLE', 'DROP TABLE') execute function noticed();
alter event trigger on_changes disable;
create publication of_schema for tables in schema tools;
create publication everything for all tables;
create cast (text as point3) with inout as assignment;
create aggregate ordered (float8 order by float8) (sfunc = ordered_set_transition, stype = internal, finalfunc = percentile_cont_float8_final);
create operator class backwards for type int using btree as operator 1 > (int, int), operator 2 >= (int, int), operator 3 = (int, int),
  operator 4 <= (int, int), operator 5 < (int, int), function 1 btint4cmp(int, int);
create function in_c(int) returns int language internal strict immutable as 'int4abs';
grant create on schema public to reader;
alter schema tools owner to reader;
revoke usage on language plpgsql from public;

alter table every_type set tablespace elsewhere;
create index in_tablespace on computed (price) tablespace elsewhere;
