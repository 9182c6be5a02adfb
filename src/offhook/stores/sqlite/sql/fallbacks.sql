-- Templates that take the place of texts outside of WhatsApp's window.

-- What is not wanted any more (its person has opted out) has none.
-- name: may_fall_back
fallback <> '' AND fell_back = '' AND repeats <> {NOT_WANTED}

-- The window may have been closed for it.
-- name: may_be_refused
{may_fall_back} AND sends.state = '{send_target(ACCEPT)}' AND sends.delivery NOT IN {DELIVERED}

-- All parts of a text have the same fallback. It has gone, or is going, if one of them is it. What a
-- replay has freed, or an operator has withdrawn, is none.
-- name: template_goes
EXISTS (SELECT 1 FROM sends AS template
         WHERE template.message = sends.message AND template.fallback = sends.fallback
           AND template.fell_back <> ''
           AND template.state NOT IN ('{SendState.REPLACED}', '{SendState.CANCELED}'))

-- A Messaging Service has its own choice of numbers, and a person may have two addresses.
-- name: window_is_open
EXISTS (SELECT 1
          FROM (SELECT account_sid AS account, lane AS conversation, recipient AS ours, received
                  FROM messages
                 WHERE kind = '{Kind.MESSAGE}' AND messages.sender IN (
                       SELECT sends.recipient
                        UNION SELECT address FROM aliases WHERE person = sends.recipient
                        UNION SELECT person FROM aliases WHERE address = sends.recipient)
                 ORDER BY id DESC LIMIT {NEWEST})
         WHERE account = sends.account_sid AND received > :now - {WINDOW} * 1000
           AND (conversation = sends.lane OR ours = sends.sender OR sends.sender LIKE 'MG%'))

-- name: is_to_fall_back
SELECT {template_goes} OR NOT {window_is_open} FROM sends WHERE id = :id

-- name: become_template
UPDATE sends
   SET content_sid = json_extract(fallback, '$.sid'),
       content_variables = json_extract(fallback, '$.variables'),
       fell_back = '{window_closed}'
 WHERE id = :id AND state = '{SendState.PENDING}'

-- Another part of a text is not sent, once the template goes.
-- name: give_way
UPDATE sends SET state = '{send_target(FALL_BACK)}', settled = :now, error = '{window_closed}'
 WHERE id = :id AND {may_fall_back} AND {template_goes}

-- name: refused_by_window
SELECT lane FROM sends
 WHERE id = :id AND {may_fall_back} AND error_code IN {WINDOW_CODES}
   AND state IN {send_sources(DISMISS)}

-- name: write_template
INSERT INTO sends (identity, account_sid, sender, recipient, body, media, content_sid,
                   content_variables, fallback, fell_back, message, lane, state, created, due)
SELECT json_extract(fallback, '$.identity'), account_sid, sender, recipient, '', '[]',
       json_extract(fallback, '$.sid'), json_extract(fallback, '$.variables'), fallback,
       '{window_refused}' || error_code, message, lane, '{SendState.PENDING}', :now, :now
  FROM sends WHERE id = :id AND NOT {template_goes}
    ON CONFLICT DO NOTHING

-- name: replace_by_template
UPDATE sends
   SET state = '{send_target(FALL_BACK)}', settled = :now, error = '{window_refused}' || error_code
 WHERE id = :id
