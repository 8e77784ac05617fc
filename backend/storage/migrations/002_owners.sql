-- Whose job it is on a server with users; NULL on one without.
ALTER TABLE jobs ADD COLUMN owner TEXT;
CREATE INDEX jobs_owner ON jobs(owner, finished) WHERE owner IS NOT NULL;
