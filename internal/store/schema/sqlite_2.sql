-- A row is one column of JSON, which says what the columns said, and the prompt's outline.
ALTER TABLE requests RENAME TO requests_1;
CREATE TABLE requests (
	id INTEGER PRIMARY KEY,
	entry TEXT NOT NULL,
	prompt BLOB
);
INSERT INTO requests (id, entry, prompt)
SELECT r.id, json_object(
	'request_id', r.request_id, 'time', r.time, 'client', r.client, 'session', r.session, 'agent', r.agent,
	'method', r.method, 'path', r.path, 'model', r.model, 'server', r.server, 'outcome', r.outcome,
	'status', r.status, 'stream', r.stream, 'routed', r.routed, 'reason', r.reason, 'first_byte', r.first_byte,
	'duration', r.duration, 'waited', r.waited, 'sent', r.sent, 'received', r.received,
	'attempts', json((SELECT json_group_array(json(each)) FROM (SELECT json_object(
		'time', a.time, 'server', a.server, 'status', a.status, 'scope', a.scope, 'reason', a.reason,
		'request_id', a.upstream_request_id, 'verdict', a.verdict, 'duration', a.duration, 'served', a.served, 'model', a.model,
		'stop_reason', a.stop_reason, 'service_tier', a.service_tier, 'known', a.known, 'estimated', a.estimated, 'input', a.input,
		'output', a.output, 'cache_read', a.cache_read, 'cache_write_5m', a.cache_write_5m, 'cache_write_1h', a.cache_write_1h, 'searches', a.searches,
		'priced', a.priced, 'cost', a.cost, 'saved', a.saved, 'wasted', a.wasted, 'warm', a.warm,
		'warmest', a.warmest, 'guess', a.guess) AS each FROM attempts AS a WHERE a.request = r.id ORDER BY a.n)))), r.prompt FROM requests_1 AS r;
DROP TABLE requests_1;
DROP TABLE attempts;
