CREATE DATABASE IF NOT EXISTS mbo;

CREATE TABLE IF NOT EXISTS mbo.messages (
  publisher_id UInt16 CODEC(ZSTD(1)),
  instrument_id UInt32 CODEC(ZSTD(1)),
  ts_recv DateTime64(9, 'UTC') CODEC(ZSTD(1)),
  ts_event DateTime64(9, 'UTC') CODEC(ZSTD(1)),
  sequence UInt32 CODEC(Delta(4), ZSTD(1)),
  order_id UInt64 CODEC(ZSTD(1)),
  action FixedString(1) CODEC(ZSTD(1)),
  side FixedString(1) CODEC(ZSTD(1)),
  price Int64 CODEC(GCD, ZSTD(1)),
  size UInt32 CODEC(T64, ZSTD(1)),
  channel_id UInt8 CODEC(ZSTD(1)),
  flags UInt8 CODEC(ZSTD(1)),
  ts_in_delta Int32 CODEC(T64, ZSTD(1)),
  file_id UInt64 CODEC(ZSTD(1)),
  row_num UInt64 CODEC(Delta(8), ZSTD(1)),
  INDEX rows row_num TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree
PARTITION BY intDiv(toUnixTimestamp64Nano(ts_recv), 86400000000000)
PRIMARY KEY (instrument_id, ts_recv)
ORDER BY (instrument_id, ts_recv, file_id, row_num)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
  replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS mbo.mbp10 (
  publisher_id UInt16 CODEC(ZSTD(1)),
  instrument_id UInt32 CODEC(ZSTD(1)),
  ts_recv DateTime64(9, 'UTC') CODEC(ZSTD(1)),
  ts_event DateTime64(9, 'UTC') CODEC(ZSTD(1)),
  sequence UInt32 CODEC(Delta(4), ZSTD(1)),
  action FixedString(1) CODEC(ZSTD(1)),
  side FixedString(1) CODEC(ZSTD(1)),
  depth UInt8 CODEC(ZSTD(1)),
  price Int64 CODEC(GCD, ZSTD(1)),
  size UInt32 CODEC(T64, ZSTD(1)),
  flags UInt8 CODEC(ZSTD(1)),
  ts_in_delta Int32 CODEC(T64, ZSTD(1)),
  bid_px_00 Int64 CODEC(GCD, ZSTD(1)), ask_px_00 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_00 UInt32 CODEC(ZSTD(1)), ask_sz_00 UInt32 CODEC(ZSTD(1)),
  bid_ct_00 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_00 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_01 Int64 CODEC(GCD, ZSTD(1)), ask_px_01 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_01 UInt32 CODEC(ZSTD(1)), ask_sz_01 UInt32 CODEC(ZSTD(1)),
  bid_ct_01 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_01 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_02 Int64 CODEC(GCD, ZSTD(1)), ask_px_02 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_02 UInt32 CODEC(ZSTD(1)), ask_sz_02 UInt32 CODEC(ZSTD(1)),
  bid_ct_02 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_02 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_03 Int64 CODEC(GCD, ZSTD(1)), ask_px_03 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_03 UInt32 CODEC(ZSTD(1)), ask_sz_03 UInt32 CODEC(ZSTD(1)),
  bid_ct_03 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_03 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_04 Int64 CODEC(GCD, ZSTD(1)), ask_px_04 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_04 UInt32 CODEC(ZSTD(1)), ask_sz_04 UInt32 CODEC(ZSTD(1)),
  bid_ct_04 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_04 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_05 Int64 CODEC(GCD, ZSTD(1)), ask_px_05 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_05 UInt32 CODEC(ZSTD(1)), ask_sz_05 UInt32 CODEC(ZSTD(1)),
  bid_ct_05 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_05 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_06 Int64 CODEC(GCD, ZSTD(1)), ask_px_06 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_06 UInt32 CODEC(ZSTD(1)), ask_sz_06 UInt32 CODEC(ZSTD(1)),
  bid_ct_06 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_06 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_07 Int64 CODEC(GCD, ZSTD(1)), ask_px_07 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_07 UInt32 CODEC(ZSTD(1)), ask_sz_07 UInt32 CODEC(ZSTD(1)),
  bid_ct_07 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_07 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_08 Int64 CODEC(GCD, ZSTD(1)), ask_px_08 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_08 UInt32 CODEC(ZSTD(1)), ask_sz_08 UInt32 CODEC(ZSTD(1)),
  bid_ct_08 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_08 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  bid_px_09 Int64 CODEC(GCD, ZSTD(1)), ask_px_09 Int64 CODEC(GCD, ZSTD(1)),
  bid_sz_09 UInt32 CODEC(ZSTD(1)), ask_sz_09 UInt32 CODEC(ZSTD(1)),
  bid_ct_09 UInt32 CODEC(DoubleDelta, ZSTD(1)), ask_ct_09 UInt32 CODEC(DoubleDelta, ZSTD(1)),
  file_id UInt64 CODEC(ZSTD(1)),
  row_num UInt64 CODEC(Delta(8), ZSTD(1)),
  record_num UInt64 CODEC(DoubleDelta, ZSTD(1)),
  build UInt16 CODEC(ZSTD(1)),
  INDEX records record_num TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(build)
PARTITION BY intDiv(toUnixTimestamp64Nano(ts_recv), 86400000000000)
PRIMARY KEY (instrument_id, ts_recv)
ORDER BY (instrument_id, ts_recv, file_id, row_num)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
  replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS mbo.book_snapshots (
  publisher_id UInt16,
  instrument_id UInt32,
  file_id UInt64,
  row_num UInt64,
  build UInt16,
  base UInt8,
  ts_high Int64,
  segment_low Int64,
  segment_high Int64,
  ts_recv DateTime64(9, 'UTC'),
  ts_event DateTime64(9, 'UTC'),
  sequence UInt32,
  channel_id UInt8,
  flags UInt8,
  synced UInt8,
  suspect UInt8,
  in_snapshot UInt8,
  messages UInt64,
  events UInt64,
  order_id Array(UInt64) CODEC(ZSTD(1)),
  side Array(UInt8) CODEC(ZSTD(1)),
  price Array(Int64) CODEC(ZSTD(1)),
  size Array(UInt32) CODEC(ZSTD(1)),
  ts_order Array(Int64) CODEC(ZSTD(1)),
  aggregate Array(UInt8) CODEC(ZSTD(1)),
  anomaly Array(String),
  anomaly_count Array(UInt64),
  anomaly_index Array(UInt64),
  anomaly_order_id Array(UInt64),
  anomaly_ts_event Array(UInt64),
  anomaly_sequence Array(UInt32)
) ENGINE = ReplacingMergeTree(build)
ORDER BY (instrument_id, file_id, publisher_id, row_num)
SETTINGS index_granularity = 16, non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
  replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS mbo.ingest_ledger (
  file_id UInt64,
  target String,
  sha256 FixedString(32),
  name String,
  dataset String,
  schema String,
  n_rows UInt64,
  ts_min Int64,
  ts_max Int64,
  instruments Array(UInt32),
  chunk_rows UInt32,
  build UInt16,
  attempt UInt32,
  ddl_version UInt32,
  state String,
  updated_at UInt64,
  header String,
  mapping_symbol Array(String),
  mapping_instrument_id Array(UInt32),
  mapping_start Array(UInt64),
  mapping_end Array(UInt64),
  book_key Array(UInt64),
  book_rows Array(UInt64),
  book_recv_min Array(UInt64),
  book_recv_max Array(UInt64),
  book_time_min Array(UInt64),
  book_time_max Array(UInt64)
) ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (file_id, target);

CREATE TABLE IF NOT EXISTS mbo.schema_versions (
  version UInt32,
  name String,
  applied_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version;

CREATE VIEW IF NOT EXISTS mbo.files AS
SELECT file_id, name, lower(hex(sha256)) AS sha256, dataset, n_rows,
  fromUnixTimestamp64Nano(ts_min, 'UTC') AS ts_min, fromUnixTimestamp64Nano(ts_max, 'UTC') AS ts_max, instruments, state,
  fromUnixTimestamp64Nano(toInt64(updated_at), 'UTC') AS updated_at
FROM mbo.ingest_ledger FINAL
WHERE target = 'messages' AND state IN ('committed', 'recording');
