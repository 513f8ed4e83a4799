-- The bench's database: an application's tables of many types, text that compresses well beside content that does not.
-- The same rows every time. Variables: database, scale (1 makes about 1.1 GB on disk), tables (how many small ones
-- besides).
\set ON_ERROR_STOP 1
create database :"database";
\connect :"database"
set synchronous_commit = off;
set maintenance_work_mem = '256MB';

create type status as enum ('draft', 'submitted', 'approved', 'paid', 'rejected');

create table customers (
  id int generated always as identity primary key,
  name text not null,
  email text not null,
  address jsonb not null,
  created_at timestamptz not null
);
insert into customers (name, email, address, created_at)
select 'Customer ' || i, 'customer' || i || '@example.org',
  jsonb_build_object('street', md5(i::text) || ' street', 'city', 'City ' || i % 500, 'postcode', 10000 + i % 90000),
  '2020-01-01'::timestamptz + i * interval '7 minutes'
from generate_series(1, (100000 * :scale)::int) i;

create table expenses (
  id bigint generated always as identity primary key,
  customer int not null references customers,
  merchant text not null,
  amount numeric(12, 2) not null,
  status status not null,
  tags text[] not null,
  note text,
  created_at timestamptz not null
);
insert into expenses (customer, merchant, amount, status, tags, note, created_at)
select 1 + i % (100000 * :scale)::int, 'Merchant ' || hashint4(i) % 5000, (hashint4(i) % 100000) / 100.0,
  (enum_range(null::status))[1 + i % 5], array['trip' || i % 90, 'stand' || i % 17],
  case when i % 3 = 0 then 'Taxi from the fair to the hotel, receipt ' || i || ', approved by ' || hashint4(i + 7) % 300 end,
  '2021-01-01'::timestamptz + i * interval '20 seconds'
from generate_series(1, (2500000 * :scale)::int) i;
create index on expenses (customer);
create index on expenses (created_at);

create table readings (at timestamptz not null, sensor int not null, value double precision not null);
insert into readings
select '2022-01-01'::timestamptz + i * interval '1 second', i % 200, sin(i) * hashint4(i) / 1000000.0
from generate_series(1, (3000000 * :scale)::int) i;

create table messages (id uuid primary key, body jsonb not null);
insert into messages
select md5(i::text)::uuid, jsonb_build_object('kind', 'audit', 'actor', i % 900, 'path', '/expenses/' || i,
  'changes', jsonb_build_object('status', jsonb_build_array('draft', 'submitted'), 'digest', md5((i * 7)::text)))
from generate_series(1, (600000 * :scale)::int) i;

-- Receipts, as photographs: nothing to compress.
create table receipts (expense bigint primary key references expenses, image bytea not null);
insert into receipts
select i, (select decode(string_agg(md5(i || '/' || j), ''), 'hex') from generate_series(1, 1000) j)
from generate_series(1, (16000 * :scale)::int) i;

select format('create table small_%s (id int primary key, name text); insert into small_%s select i, %L || i from generate_series(1, 20) i', i, i, 'row ')
from generate_series(1, :tables) i \gexec

vacuum analyze;
checkpoint;
