-- What is stored completely. A file that is being ingested, or was left halfway, has messages but is not in here, so that
-- SELECT ... FROM mbo.messages WHERE file_id IN (SELECT file_id FROM mbo.files) sees whole files only.

CREATE VIEW IF NOT EXISTS mbo.files AS
SELECT file_id, name, lower(hex(sha256)) AS sha256, dataset, n_rows,
  fromUnixTimestamp64Nano(ts_min, 'UTC') AS ts_min, fromUnixTimestamp64Nano(ts_max, 'UTC') AS ts_max, instruments, state,
  fromUnixTimestamp64Nano(toInt64(updated_at), 'UTC') AS updated_at
FROM mbo.ingest_ledger FINAL
WHERE target = 'messages' AND state IN ('committed', 'recording');
