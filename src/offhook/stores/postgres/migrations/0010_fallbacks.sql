-- The template that takes a send's place outside of WhatsApp's window (JSON; empty for none), and why
-- this is what is sent: empty if it is not. Constant defaults: no row is written anew.
ALTER TABLE offhook.sends
    ADD COLUMN IF NOT EXISTS fallback text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS fell_back text NOT NULL DEFAULT '';
