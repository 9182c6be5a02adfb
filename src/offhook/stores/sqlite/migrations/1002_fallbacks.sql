-- The template that takes a send's place outside of WhatsApp's window (JSON; empty for none), and why
-- this is what is sent: empty if it is not.
ALTER TABLE sends ADD COLUMN fallback TEXT NOT NULL DEFAULT '';
ALTER TABLE sends ADD COLUMN fell_back TEXT NOT NULL DEFAULT '';
