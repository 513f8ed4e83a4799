-- A database with something of everything, as far as its owner may make it. Needs the roles app, reader and "Odd, ""role""".

-- Extensions that are trusted, with rows of their types further down.
create extension hstore;
create schema tools;
create extension citext schema tools;
create extension ltree schema tools;
create extension btree_gist;
create extension pg_trgm;
comment on extension hstore is 'pairs';

-- Names that have to be quoted, in every kind of place.
create schema "Schéma with, ""everything""";
comment on schema "Schéma with, ""everything""" is E'several\nlines; -- with \\ and ''quotes''\nALTER DATABASE shop SET work_mem TO ''1MB'';';
create table "Schéma with, ""everything""".". _$ (table) \ 'x' 表" (
  "select" int primary key, " leading" text, "tab	inside" text default E'it''s \\ and\nmore', "UPPER" text,
  constraint "check; that" check ("select" > 0)
);
insert into "Schéma with, ""everything""".". _$ (table) \ 'x' 表" values (1, ' ', default, ''), (2, null, E'\\N', 'NULL');
create index "index on; it" on "Schéma with, ""everything""".". _$ (table) \ 'x' 表" ("UPPER" text_pattern_ops);

-- Types.
create type mood as enum ('sad', 'it''s ok', 'happy');
alter type mood add value 'in between' before 'happy';
comment on type mood is 'how it is';
create type point3 as (x double precision, y double precision, "Z z" double precision);
create type empty_one as ();
create domain positive as numeric(12, 2) default 1 constraint above_zero check (value > 0) not null;
create domain list_of_moods as mood[] check (array_length(value, 1) < 5);
create domain loose as text;
create table of_loose (value loose);
insert into of_loose values ('too long for it');
alter domain loose add constraint short check (length(value) < 5) not valid;
create type span as range (subtype = double precision, subtype_diff = float8mi, multirange_type_name = spans);
create collation german (provider = icu, locale = 'de-u-co-phonebk');
create collation ignores_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create collation plain from "C";

create table every_type (
  id bigint generated always as identity (start 10 increment 5 maxvalue 100000 cache 3) primary key,
  small smallint, whole int, big bigint, exact numeric, scaled numeric(10, -2), single real, double double precision,
  cash money, yes boolean, fixed character(5), limited varchar(12), free text, one_char "char", name_ name, bytes bytea,
  moment timestamptz, clock_less timestamp, day date, at_time time, at_timetz timetz, fine timestamp(3), span_ interval,
  months interval year to month, address inet, network cidr, mac macaddr, mac8 macaddr8, bits bit(5), more_bits bit varying,
  uid uuid, doc json, binary_doc jsonb, path_ jsonpath, markup xml, words tsvector, search tsquery, place point, line_ line,
  segment lseg, corner box, route path, area polygon, round circle, whole_range int4range, time_range tstzrange,
  ranges nummultirange, own_range span, own_ranges spans, lsn pg_lsn, tid_ tid, xid_ xid8, snapshot pg_snapshot,
  kind mood, price positive, composite point3, composites point3[], kinds mood[], moods list_of_moods, numbers int[],
  matrix numeric[][], pairs hstore, any_case tools.citext, tree tools.ltree, class_ regclass, type_ regtype, role_ regrole
);
insert into every_type (small, whole, big, exact, scaled, single, double, cash, yes, fixed, limited, free, one_char, name_,
  bytes, moment, clock_less, day, at_time, at_timetz, fine, span_, months, address, network, mac, mac8, bits, more_bits, uid,
  doc, binary_doc, path_, markup, words, search, place, line_, segment, corner, route, area, round, whole_range, time_range,
  ranges, own_range, own_ranges, lsn, tid_, xid_, snapshot, kind, composite, composites, kinds, moods, numbers, matrix, pairs,
  any_case, tree, class_, type_, role_)
values
  (-32768, 2147483647, -9223372036854775808, 123456789012345678901234567890.000000000000000000000001230, 12345, 1.17549435e-38,
   5e-324, 12.34, true, 'ab', 'äöü', E'tab\tnewline\nreturn\rbackslash\\ \u0001 \U0001F600 emoji', E'\u0001', 'n',
   '\x00ff0a5c27', '2026-02-28 23:59:59.999999+14', 'infinity', '4713-01-01 BC', '24:00', '23:59:60-15:59',
   '2026-01-01 00:00:00.1235', '-1 year 2 mons -3 days 04:05:06.789', '17 months', '10.0.0.1/8', '2001:db8::/32',
   '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10101', B'', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
   '{"b" : 1,  "a":[1e400, null], "a": "\u00e4"}', '{"b": 1.10, "a": [1, null, "\\u0041"]}', '$.a[*] ? (@ > 1)',
   '<a b="c">&lt;<!-- x --></a>', '''it''''s'':1A the:2,3B', '''it''''s'' & !a <-> b', '(1,-0)', '{1,2,3}', '((0,0),(1,1))',
   '((0,0),(1,1))', '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(0,0),2.5>', '[1,10)', '(,2026-01-01]', '{[1,2],[5,)}', '(1.5,2.5]',
   '{[1,2),[3,4]}', '16/B374D848', '(42,7)', '18446744073709551615', '10:20:10,14,15', 'it''s ok', '(1.5,,Infinity)',
   array[row(1, 2, 3)::point3, null], '{happy,NULL,"it''s ok"}', '{sad}', '[2:4]={1,NULL,3}', '{{1,2.5},{NaN,Infinity}}',
   '"a key"=>"a \"value\"", b=>NULL', 'MixedCase', 'top.sub_1', 'every_type', 'mood', 'app');
insert into every_type (exact, single, double, day, moment, kinds, free, price)
  values ('NaN', '-Infinity', 'NaN', '-infinity', '0044-03-15 BC', '{}', '', 0.01);
insert into every_type default values;
comment on table every_type is 'types';
comment on column every_type.pairs is '"quoted"';

-- Columns that make themselves, and how columns are stored.
create table computed (
  id int generated by default as identity, price positive, amount int not null default 3,
  total numeric generated always as (price * amount) stored,
  label text collate german default 'ärger', folded text collate ignores_case unique, dropped int
);
alter table computed drop column dropped;
alter table computed add column late text default 'added later';
alter table computed alter column label set storage external;
alter table computed alter column label set statistics 7;
alter table computed alter column late set compression pglz;
alter table computed alter column amount set (n_distinct = -0.5);
alter table computed set (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_vacuum_scale_factor = 0.1);
insert into computed (price, amount, folded) select i, i, 'Row ' || i from generate_series(1, 30) as i;
update computed set amount = amount + 1 where id % 3 = 0;
delete from computed where id % 7 = 0;
create statistics correlated (dependencies, ndistinct) on price, amount from computed;
alter table computed replica identity full;
create unlogged table scratch (id int);
insert into scratch values (1);
create table typed of point3 (x with options primary key);

-- Sequences of every state.
create sequence never_used as smallint increment -1 minvalue -5 maxvalue -1 start -2;
create sequence used cycle;
select setval('used', 41), nextval('used');
create sequence owned_elsewhere owned by computed.amount;

-- Keys and constraints.
create table parents (a int, b text, c int unique, primary key (a, b) include (c));
create table children (
  id serial primary key, a int, b text, c int,
  constraint deferred foreign key (a, b) references parents match full on update cascade on delete set null deferrable initially deferred,
  constraint plain_key foreign key (c) references parents (c) on delete restrict,
  exclude using gist (c with =, int4range(a, a + 1) with &&) where (c is not null),
  unique nulls not distinct (a, b)
);
insert into parents values (1, 'x', 10), (2, 'y', 20);
insert into children (a, b, c) values (1, 'x', 10), (null, null, null);
alter table children add constraint later check (id < 2) not valid;
alter table children add constraint orphans foreign key (id) references parents (c) not valid;
create table itself (id int primary key, parent int references itself, next int, status varchar(9) check (status in ('draft', 'paid')));
alter table itself add foreign key (next) references itself deferrable;
insert into itself values (1, 2, 3, 'draft'), (2, 1, 1, 'paid'), (3, 3, 2, null);

-- Indexes.
create index by_expression on computed (lower(label), (amount % 2) desc nulls last) where amount > 2;
create index by_hash on computed using hash (late);
create index by_words on every_type using gin (words);
create index by_trigram on every_type using gin (free gin_trgm_ops) with (fastupdate = off);
create index by_block on computed using brin (id) with (pages_per_range = 16);
create index by_place on every_type using gist (place);
create unique index concurrently_made on every_type (big, small) include (whole);
alter table every_type cluster on every_type_pkey;

-- Inheritance and partitions.
create table animals (id int, name text default 'nobody' not null);
create table birds (wings int default 2, constraint flies check (wings > 0)) inherits (animals);
create table penguins (name text default 'pingu') inherits (birds);
insert into animals values (1, 'a');
insert into birds values (2, 'b', 2);
insert into penguins (id, wings) values (3, 1);
create table measured (at date not null, device int not null, value double precision, primary key (at, device)) partition by range (at);
create table measured_2025 partition of measured for values from (minvalue) to ('2026-01-01');
create table measured_2026 partition of measured for values from ('2026-01-01') to ('2027-01-01') partition by list (device);
create table measured_2026_one partition of measured_2026 for values in (1, 2);
create table measured_2026_others partition of measured_2026 default;
create table measured_later (device int not null, value double precision, at date not null, note text);
alter table measured_later drop column note;
alter table measured attach partition measured_later for values from ('2027-01-01') to (maxvalue);
create index on measured (value);
insert into measured select date '2025-06-01' + i * 40, i % 4, i / 3.0 from generate_series(1, 30) as i;
create table hashed (id int references parents (c), body text) partition by hash (id);
create table hashed_0 partition of hashed for values with (modulus 2, remainder 0);
create table hashed_1 partition of hashed for values with (modulus 2, remainder 1);
insert into hashed values (10, 'ten'), (20, 'twenty');

-- Views, rules, functions, triggers.
create view simple as select id, price from computed where amount > 5 with local check option;
create view options with (security_barrier) as select * from simple;
create view on_columns (first, "Second one") as select a, b from parents union all select null, 'z' order by 1 limit 5;
create recursive view counting (n) as select 1 union all select n + 1 from counting where n < 5;
create view grouped as select a, count(*) as children from parents left join children using (a, b) group by parents.a, parents.b;
create materialized view summary as select amount % 3 as rest, sum(total) as total from computed group by 1;
create unique index on summary (rest);
create materialized view unfilled as select * from summary with no data;
create materialized view of_tenant as select current_setting('app.tenant') as tenant;
create materialized view over_it as select count(*) as lines from summary;
create rule ignored as on delete to simple do instead nothing;
create view ruled as select * from of_loose;
create rule inserts as on insert to ruled do instead insert into of_loose values (new.value || ' by rule');
create function plus(a int, b int default 1, variadic more int[] default '{}') returns int language sql immutable strict parallel safe
  cost 7 as $$ select a + b + coalesce((select sum(m)::int from unnest(more) as m), 0) $$;
create function atomic(n int) returns table (id int, doubled int) language sql stable rows 3 begin atomic select n, n * 2; end;
create function touch() returns trigger language plpgsql security definer set search_path = pg_catalog, public set work_mem = '8MB' as $body$
begin
  new.late := 'touched; ' || coalesce(new.late, '');
  return new;
end $body$;
create procedure prune(inout removed int, keep int default 10) language plpgsql as $$ begin commit; end $$;
create function same(anyelement, out anyelement, out n int) language sql as 'select $1, 1';
create aggregate total_of (int) (sfunc = int4pl, stype = int, initcond = '5', combinefunc = int4pl, parallel = safe);
create operator === (function = int4eq, leftarg = int, rightarg = int, commutator = ===, restrict = eqsel, join = eqjoinsel);
create cast (mood as point3) with inout;
create trigger touched before update of amount on computed for each row when (old.amount is distinct from new.amount) execute function touch();
create trigger always_on after insert on parents referencing new table as added for each statement execute function suppress_redundant_updates_trigger();
create constraint trigger checked after insert on measured deferrable initially deferred for each row execute function touch();
create trigger silent before insert on itself for each row execute function suppress_redundant_updates_trigger();
alter table itself disable trigger silent;
alter table computed enable always trigger touched;
create text search dictionary plain_words (template = simple, stopwords = english);
create text search configuration words (copy = english);
alter text search configuration words alter mapping for asciiword with plain_words;
comment on function plus(int, int, int[]) is 'adds';
comment on trigger touched on computed is 'when touched';
comment on constraint deferred on children is 'late';
comment on index by_expression is 'of both';
comment on rule ignored on simple is 'no';
comment on materialized view summary is 'sums';

-- Row security, enforced on its owner too.
create table walled (id int primary key, who text default current_user, secret text);
insert into walled values (1, 'app', 'one'), (2, 'reader', 'two');
alter table walled enable row level security;
alter table walled force row level security;
create policy own_rows on walled for all to app using (who = current_user) with check (who = current_user);
create policy all_but on walled as restrictive for select to reader, "Odd, ""role""" using (id > 0);
comment on policy own_rows on walled is 'own';

-- Grants: on columns, with grant option, taken from PUBLIC; and those of the future.
grant select (id, who), update (secret) on walled to reader;
grant select on every_type to reader with grant option;
grant usage on schema "Schéma with, ""everything""" to "Odd, ""role""";
grant all on "Schéma with, ""everything""".". _$ (table) \ 'x' 表" to "Odd, ""role""";
grant usage, select on sequence used to public;
grant execute on procedure prune to reader;
revoke execute on function touch() from public;
revoke usage on type mood from public;
grant usage on type mood to reader;
revoke select on scratch from app;
alter default privileges in schema public grant select on tables to reader;
alter default privileges grant execute on functions to "Odd, ""role""";
alter default privileges revoke execute on functions from public;
alter default privileges in schema tools grant usage on sequences to reader with grant option;

create publication some_rows for table computed (id, amount) where (amount > 3), table parents with (publish = 'insert, update');

-- Large objects.
select lo_from_bytea(4711, '\x00ff'), lo_from_bytea(4712, convert_to(repeat('large ', 2000), 'UTF8')), lo_create(4713);
grant select on large object 4712 to reader;
comment on large object 4711 is 'two bytes';
