-- Format 2: limits beside octets, lists of rights, annotations. A grantee or owner 0 is anyone; account and folder 0 are
-- the server.
ALTER TABLE mailstore.account ADD COLUMN quota_messages int8;
ALTER TABLE mailstore.account ADD COLUMN quota_folders int8;
CREATE TABLE mailstore.acl (
    account int8 NOT NULL,
    folder int8 NOT NULL,
    grantee int8 NOT NULL,
    negative bool NOT NULL,
    rights int8 NOT NULL,
    PRIMARY KEY (account, folder, grantee, negative)
);
CREATE INDEX acl_grantee ON mailstore.acl (grantee, account) WHERE NOT negative;
CREATE TABLE mailstore.annotation (
    account int8 NOT NULL,
    folder int8 NOT NULL,
    owner int8 NOT NULL,
    name text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (account, folder, owner, name)
);
CREATE INDEX annotation_owner ON mailstore.annotation (owner);
