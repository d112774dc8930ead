-- Format 1. What each table is for and why it is keyed as it is: docs/design.md.
-- Everything lies in a schema of its own and is named in full, so that no search path matters.
CREATE TABLE mailstore.account (
    id int8 PRIMARY KEY,
    at int8 NOT NULL,
    next_item int8 NOT NULL,
    next_folder int8 NOT NULL,
    next_shelf int8 NOT NULL,
    uid_validity int8 NOT NULL,
    messages int8 NOT NULL,
    octets int8 NOT NULL,
    quota int8,
    floor int8 NOT NULL,
    removed bool NOT NULL
);
CREATE TABLE mailstore.folder (
    account int8 NOT NULL,
    id int8 NOT NULL,
    shelf int8 NOT NULL,
    parent int8 NOT NULL,
    name text NOT NULL,
    role int8 NOT NULL,
    selectable bool NOT NULL,
    uid_validity int8 NOT NULL,
    uid_next int8 NOT NULL,
    highest int8 NOT NULL,
    floor int8 NOT NULL,
    created int8 NOT NULL,
    change int8 NOT NULL,
    renamed int8 NOT NULL,
    attributed int8 NOT NULL,
    emptied int8 NOT NULL,
    members int8 NOT NULL,
    messages int8 NOT NULL,
    unseen int8 NOT NULL,
    deleted int8 NOT NULL,
    octets int8 NOT NULL,
    recent int8 NOT NULL,
    PRIMARY KEY (account, id)
);
CREATE TABLE mailstore.item (
    account int8 NOT NULL,
    shelf int8 NOT NULL,
    uid int8 NOT NULL,
    item int8 NOT NULL,
    email bytea NOT NULL,
    thread bytea NOT NULL,
    flags int8 NOT NULL,
    keywords text NOT NULL,
    generation int8 NOT NULL,
    created int8 NOT NULL,
    content_change int8 NOT NULL,
    read_change int8 NOT NULL,
    change int8 NOT NULL,
    internal_date int8 NOT NULL,
    zone int8 NOT NULL,
    saved int8 NOT NULL,
    size int8 NOT NULL,
    PRIMARY KEY (account, shelf, uid)
);
CREATE INDEX item_change ON mailstore.item (account, shelf, change);
CREATE INDEX item_unseen ON mailstore.item (account, shelf, uid) WHERE flags & 1 = 0;
CREATE INDEX item_deleted ON mailstore.item (account, shelf, uid) WHERE flags & 8 = 8;
CREATE TABLE mailstore.gone (
    account int8 NOT NULL,
    shelf int8 NOT NULL,
    change int8 NOT NULL,
    uid int8 NOT NULL,
    item int8 NOT NULL,
    created int8 NOT NULL,
    at int8 NOT NULL,
    PRIMARY KEY (account, shelf, change)
);
CREATE TABLE mailstore.folder_gone (
    account int8 NOT NULL,
    change int8 NOT NULL,
    folder int8 NOT NULL,
    created int8 NOT NULL,
    at int8 NOT NULL,
    PRIMARY KEY (account, change)
);
CREATE TABLE mailstore.purge (
    account int8 NOT NULL,
    shelf int8 NOT NULL,
    PRIMARY KEY (account, shelf)
);
CREATE TABLE mailstore.subscription (
    account int8 NOT NULL,
    path text NOT NULL,
    PRIMARY KEY (account, path)
);
CREATE TABLE mailstore.keyword (
    account int8 NOT NULL,
    shelf int8 NOT NULL,
    folded text NOT NULL,
    word text NOT NULL,
    uses int8 NOT NULL,
    PRIMARY KEY (account, shelf, folded)
);
CREATE TABLE mailstore.blob (
    id bytea PRIMARY KEY,
    size int8 NOT NULL,
    piece int8 NOT NULL,
    octets bytea
);
CREATE TABLE mailstore.piece (
    blob bytea NOT NULL REFERENCES mailstore.blob ON DELETE CASCADE,
    no int8 NOT NULL,
    octets bytea NOT NULL,
    PRIMARY KEY (blob, no)
);
CREATE TABLE mailstore.loose (
    blob bytea PRIMARY KEY,
    due int8 NOT NULL
);
CREATE INDEX loose_due ON mailstore.loose (due);
CREATE TABLE mailstore.email (
    account int8 NOT NULL,
    id bytea NOT NULL,
    blob bytea NOT NULL REFERENCES mailstore.blob,
    prefix bytea NOT NULL,
    size int8 NOT NULL,
    thread bytea NOT NULL,
    skeleton bytea NOT NULL,
    summary bytea NOT NULL,
    uses int8 NOT NULL,
    dead_at int8,
    PRIMARY KEY (account, id)
);
CREATE INDEX email_blob ON mailstore.email (blob, account);
CREATE INDEX email_dead ON mailstore.email (dead_at) WHERE dead_at IS NOT NULL;
CREATE TABLE mailstore.batch (
    id bytea PRIMARY KEY,
    at int8 NOT NULL,
    result bytea NOT NULL
);
CREATE INDEX batch_at ON mailstore.batch (at);
CREATE TABLE mailstore.lease (
    scope text PRIMARY KEY,
    owner bytea,
    token int8 NOT NULL,
    expires int8 NOT NULL
);
CREATE TABLE mailstore.queue (
    id bytea PRIMARY KEY,
    priority int8 NOT NULL,
    due int8 NOT NULL,
    leased_until int8,
    free_at int8 NOT NULL,
    token int8 NOT NULL,
    size int8 NOT NULL,
    entry bytea NOT NULL,
    trace bytea NOT NULL,
    blob bytea NOT NULL REFERENCES mailstore.blob
);
CREATE INDEX queue_due ON mailstore.queue (priority, due, id);
CREATE INDEX queue_free ON mailstore.queue (free_at);
CREATE INDEX queue_blob ON mailstore.queue (blob);
CREATE TABLE mailstore.principal (
    account int8 PRIMARY KEY,
    address text NOT NULL,
    display_name text
);
CREATE TABLE mailstore.address (
    folded text NOT NULL,
    account int8 NOT NULL,
    domain text NOT NULL,
    alias text,
    PRIMARY KEY (folded, account)
);
CREATE UNIQUE INDEX address_own ON mailstore.address (folded) WHERE alias IS NULL;
CREATE INDEX address_account ON mailstore.address (account);
CREATE INDEX address_domain ON mailstore.address (domain);
CREATE TABLE mailstore.verifier (
    account int8 NOT NULL,
    kind text NOT NULL,
    record text NOT NULL,
    PRIMARY KEY (account, kind)
);
