-- The tables of version 6, as servers of that time made them. Never changed: databases like it are in the
-- field.

CREATE TABLE "assignment" (
    "device" varchar NOT NULL PRIMARY KEY,
    "version" integer NOT NULL,
    "expires_unix_ms" integer NOT NULL,
    "slots" varchar NOT NULL,
    "before" varchar NOT NULL,
    "bytes" varbinary_blob NOT NULL
);
CREATE TABLE "delta" (
    "base" varchar NOT NULL,
    "target" varchar NOT NULL,
    "attempts" integer NOT NULL,
    "done" boolean NOT NULL,
    CONSTRAINT "pk-delta" PRIMARY KEY ("base", "target")
);
CREATE TABLE "device" (
    "name" varchar NOT NULL PRIMARY KEY,
    "site" varchar NOT NULL,
    "labels" varchar NOT NULL,
    "password_hash" varchar NOT NULL,
    "added_unix_ms" integer NOT NULL,
    "last_seen_unix_ms" integer,
    "agent_version" varchar NOT NULL,
    "boot" integer NOT NULL,
    "assignment_version" integer NOT NULL,
    "releases_version" integer NOT NULL,
    "root_version" integer NOT NULL,
    "timestamp_version" integer NOT NULL,
    "slots" varchar NOT NULL,
    "unreadable" integer NOT NULL,
    "intervals_dropped" integer NOT NULL,
    "events_dropped" integer NOT NULL,
    "missing_before" integer NOT NULL,
    "report_key" varchar NOT NULL,
    "report_number" integer NOT NULL,
    "report_unix_ms" integer
);
CREATE TABLE "document" (
    "kind" varchar NOT NULL,
    "version" integer NOT NULL,
    "bytes" varbinary_blob NOT NULL,
    "accepted_unix_ms" integer NOT NULL,
    CONSTRAINT "pk-document" PRIMARY KEY ("kind", "version")
);
CREATE TABLE "event" (
    "id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "device" varchar NOT NULL,
    "boot" integer NOT NULL,
    "sequence" integer NOT NULL,
    "slot" varchar NOT NULL,
    "kind" varchar NOT NULL,
    "release" varchar,
    "text" varchar NOT NULL,
    "at_unix_ms" integer NOT NULL,
    "body" varbinary_blob NOT NULL
);
CREATE TABLE "interval" (
    "id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "device" varchar NOT NULL,
    "boot" integer NOT NULL,
    "sequence" integer NOT NULL,
    "backfill" boolean NOT NULL,
    "slot" varchar NOT NULL,
    "release" varchar NOT NULL,
    "start_unix_ms" integer NOT NULL,
    "end_unix_ms" integer NOT NULL,
    "readings" integer NOT NULL,
    "frames" integer NOT NULL,
    "findings" integer NOT NULL,
    "alarms" integer NOT NULL,
    "doubled" integer NOT NULL,
    "errors" integer NOT NULL,
    "dropped" integer NOT NULL,
    "latency_us_p95" double,
    "body" varbinary_blob NOT NULL
);
CREATE TABLE "manifest" (
    "name" varchar NOT NULL,
    "reference" varchar NOT NULL,
    "digest" varchar NOT NULL,
    "media_type" varchar NOT NULL,
    "subject" varchar,
    CONSTRAINT "pk-manifest" PRIMARY KEY ("name", "reference")
);
CREATE TABLE "receipt" (
    "device" varchar NOT NULL PRIMARY KEY,
    "number" integer NOT NULL,
    "stored" varchar NOT NULL
);
CREATE TABLE "received" (
    "device" varchar NOT NULL,
    "boot" integer NOT NULL,
    "first" integer NOT NULL,
    "last" integer NOT NULL,
    CONSTRAINT "pk-received" PRIMARY KEY ("device", "boot", "first")
);
CREATE TABLE "stock" (
    "device" varchar NOT NULL PRIMARY KEY,
    "intervals" integer NOT NULL,
    "interval_bytes" integer NOT NULL,
    "events" integer NOT NULL,
    "event_bytes" integer NOT NULL,
    "conflicting" integer NOT NULL,
    "unreadable" integer NOT NULL
);
CREATE TABLE "total" (
    "device" varchar NOT NULL,
    "slot" varchar NOT NULL,
    "intervals" integer NOT NULL,
    "readings" integer NOT NULL,
    "frames" integer NOT NULL,
    "findings" integer NOT NULL,
    "alarms" integer NOT NULL,
    "doubled" integer NOT NULL,
    "errors" integer NOT NULL,
    "dropped" integer NOT NULL,
    CONSTRAINT "pk-total" PRIMARY KEY ("device", "slot")
);
CREATE INDEX "event_by_device" ON "event" ("device", "id");
CREATE INDEX "event_by_number" ON "event" ("device", "boot", "sequence");
CREATE INDEX "interval_by_device" ON "interval" ("device", "id");
CREATE INDEX "interval_by_number" ON "interval" ("device", "boot", "sequence");
CREATE INDEX "manifest_by_subject" ON "manifest" ("name", "subject");
PRAGMA user_version = 6;
