// What was drawn, as values, for tests that look at the page: window.__mbo and, by the component's id, window.__mbo_all.

export function expose(board, wire, id) {
  const {model, settings} = board;
  const of = (name) => model.header[name];
  const values = {
    ready: () => true,
    drawn: () => board.frames.drawn,
    draw_ms: () => board.frames.ms,
    n: () => board.shownFrame,
    record: () => of("record") ?? 0,
    event: () => of("event") ?? 0,
    now: () => of("now"),
    symbol: () => model.meta?.symbol ?? null,
    playing: () => Boolean(of("playing")),
    speed: () => of("speed") ?? null,
    state: () => model.status.state ?? null,
    stale: () => board.stale !== null,
    stale_reason: () => board.stale?.reason ?? null,
    lag_ms: () => board.lagMs,
    fps: () => board.fps,
    theme: () => settings.theme,
    palette: () => settings.palette,
    group: () => settings.group,
    centre: () => settings.centre,
    held: () => board.axis.held,
    bbo: () => of("bbo"),
    rows: () => ladderRows(board),
    trades: () => model.trades.kept,
    tape: () => board.tape.drawn,
    columns: () => model.columns.kept,
    heat_cells: () => board.heat.drawn,
    bins_painted: () => board.heat.bins.painted,
    queue: () => board.queue.drawn,
    order: () => model.order,
    selected: () => board.selected,
    bytes: () => model.bytes,
    wire: () => wire.taken,
  };
  const exposed = {};
  for (const [name, get] of Object.entries(values)) Object.defineProperty(exposed, name, {enumerable: true, get});
  window.__mbo = exposed;
  (window.__mbo_all ??= {})[id] = exposed;
}

function ladderRows({axis, ladder, model}) {
  const {rows} = ladder;
  return Array.from({length: rows.count}, (_, i) => {
    const tick = axis.tick(rows.top - i);
    return {
      tick, price: model.ticks.text(tick), bid: rows.bid[i], bid_ct: rows.bidCount[i], ask: rows.ask[i], ask_ct: rows.askCount[i],
      bid_delta: rows.bidDelta[i], ask_delta: rows.askDelta[i], sold: rows.sold[i], bought: rows.bought[i],
      sold_recently: rows.soldNow[i], bought_recently: rows.boughtNow[i], bid_sum: rows.bidSum[i], ask_sum: rows.askSum[i],
      hatched: Boolean(rows.bidUnknown[i] || rows.askUnknown[i]),
    };
  });
}
