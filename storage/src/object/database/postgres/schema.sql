-- Format 1. Portable SQL: no functions, no triggers, no temporary tables, no sequences.

CREATE TABLE ottla.cluster (
    id             integer PRIMARY KEY CHECK (id = 1),
    format_version integer NOT NULL,
    cluster_id     uuid    NOT NULL,
    v_groups       integer NOT NULL,
    -- of all brokers that there have ever been
    last_epoch     bigint  NOT NULL,
    -- where its objects are, when a broker has settled it: what the place is marked with, and its URL for people
    objects_id     uuid,
    objects_url    text
);

-- Each commit holds the row of its broker FOR SHARE, so that a new epoch waits for those of the old one.
CREATE TABLE ottla.broker (
    broker_id   integer PRIMARY KEY,
    epoch       bigint  NOT NULL,
    incarnation uuid    NOT NULL,
    rack        text
);

CREATE TABLE ottla.broker_endpoint (
    broker_id integer NOT NULL,
    position  integer NOT NULL,
    listener  text    NOT NULL,
    host      text    NOT NULL,
    port      integer NOT NULL,
    PRIMARY KEY (broker_id, position)
);

-- Beside ottla.broker, so that a renewal waits for no commit.
CREATE TABLE ottla.broker_lease (
    broker_id     integer     PRIMARY KEY,
    epoch         bigint      NOT NULL,
    lease_until   timestamptz NOT NULL,
    seen_metadata bigint      NOT NULL
);

-- Updated by every commit: room on the page, so that no index is.
CREATE TABLE ottla.log_group (
    group_id     integer PRIMARY KEY,
    commit_seq   bigint  NOT NULL,
    snapshot_seq bigint  NOT NULL,
    snapshot_key text
) WITH (fillfactor = 30);

CREATE TABLE ottla.commit_log (
    group_id   integer NOT NULL,
    commit_seq bigint  NOT NULL,
    commit_id  uuid    NOT NULL,
    broker_id  integer NOT NULL,
    entry      bytea   NOT NULL,
    inline     bytea   NOT NULL,
    PRIMARY KEY (group_id, commit_seq)
);

CREATE TABLE ottla.meta (
    id      integer PRIMARY KEY CHECK (id = 1),
    version bigint  NOT NULL
);

CREATE TABLE ottla.meta_record (
    version   bigint PRIMARY KEY,
    append_id uuid   NOT NULL,
    record    bytea  NOT NULL
);

CREATE TABLE ottla.job_lease (
    job         text        PRIMARY KEY,
    broker_id   integer     NOT NULL,
    epoch       bigint      NOT NULL,
    lease_until timestamptz NOT NULL
);

CREATE TABLE ottla.condemned (
    key   text        PRIMARY KEY,
    since timestamptz NOT NULL
);

CREATE INDEX condemned_since ON ottla.condemned (since, key);
