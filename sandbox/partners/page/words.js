// What the page says, and how it writes numbers and times.

const KINDS = {
  postback: "Postback",
  rudderstack: "RudderStack",
  treasure_data: "Treasure Data",
  segment: "Segment",
  mparticle: "mParticle",
  avro_files: "Avro files",
};

export const FAULTS = [
  { id: "none", label: "Works", title: "Answers as the partner does", fault: {} },
  {
    id: "key",
    label: "Refuses key",
    title: "Answers 401 to everything",
    fault: { status: 401, body: "the key is not valid" },
  },
  {
    id: "503",
    label: "503",
    title: "Answers 503 to everything",
    fault: { status: 503, body: "we are down for maintenance" },
  },
  {
    id: "429",
    label: "429",
    title: "Answers 429 with Retry-After: 10",
    fault: { status: 429, retry_after: "10", body: "too many requests" },
  },
  { id: "hang", label: "Hangs", title: "Takes the request and never answers", fault: { hang: true } },
  { id: "reset", label: "Resets", title: "Resets the connection", fault: { reset: true } },
  {
    id: "reject",
    label: "Rejects one",
    title: "Answers 400 to every request that holds one certain event",
    fault: { reject_next: true, body: "an event of this request is not valid" },
  },
];

export const PHASES = {
  starting: "The pipeline is starting",
  running: "The pipeline runs",
  stopping: "The pipeline is stopping: what is under way is delivered or held",
  ended: "The pipeline has ended",
};

const numbers = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const count = (number) => numbers.format(number);
export const rate = (number) => numbers.format(number < 10 ? Math.round(number * 10) / 10 : Math.round(number));
export const timeOfDay = (ms) => clock.format(ms);
export const kindInWords = (kind) => KINDS[kind] ?? kind;

export function events(number) {
  return `${count(number)} ${number === 1 ? "event" : "events"}`;
}

export function size(bytes) {
  return bytes < 1_000 ? `${bytes} B` : `${count(Math.round(bytes / 1_000))} KB`;
}

// A length of time in its two largest units.
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (seconds < 60) return `${seconds} s`;
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  if (hours < 72) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// The switch that a fault belongs to; null for one that was set by other means.
export function switchOf(fault) {
  if (fault.reject_next || fault.reject_ids) return "reject";
  const same = ({ fault: ours }) =>
    ["status", "retry_after", "hang", "reset"].every((name) => ours[name] === fault[name]);
  return FAULTS.find((known) => same(known) && !fault.delay_seconds && !fault.drip)?.id ?? null;
}

export function lastRequest(requests, now) {
  const [request] = requests;
  if (!request) return "No request yet";
  return `Last: ${answerOf(request)} to ${events(request.events)}, ${duration(now - request.at)} ago`;
}

export function answerOf(request) {
  if (request.status !== null) return `${request.status} in ${request.took_ms ? count(request.took_ms) : "under 1"} ms`;
  return request.took_ms === null ? "no answer yet" : "no answer";
}

export function hasFailed({ status, took_ms: tookMs }) {
  return status === null ? tookMs !== null : status >= 400;
}

// Why a connector is in its state; nothing to say of a healthy one.
export function why(connector) {
  const told = connector.lanes.find((lane) => lane.state === connector.state && lane.status);
  const cause = reasonInWords(told?.status);
  switch (connector.state) {
    case "suspended":
      return `${cause} ${probesInWords(connector.lanes)}`;
    case "resuming":
      return "Its partner takes events again: what is held leaves, oldest first.";
    case "holding":
      return `${cause} It is tried again in a moment.`;
    default:
      return "";
  }
}

function probesInWords(lanes) {
  const failed = Math.max(0, ...lanes.map(({ status }) => status?.probes_failed ?? 0));
  return failed === 1 ? "1 probe has failed." : `${count(failed)} probes have failed.`;
}

function reasonInWords(status) {
  if (!status) return "Something was not delivered.";
  const answered = /^status_(\d+)$/.exec(status.reason);
  const reason = answered ? `Answered ${answered[1]}` : status.reason;
  const cause = reason.charAt(0).toUpperCase() + reason.slice(1).replaceAll("_", " ");
  return status.answer ? `${cause}: ${status.answer}.` : `${cause}.`;
}

function faultInWords(fault) {
  const known = FAULTS.find(({ id }) => id === switchOf(fault));
  return known ? known.label.toLowerCase() : JSON.stringify(fault);
}

// One line of the log.
export function newsInWords(item) {
  const held = item.held ? `, ${count(item.held)} held` : "";
  switch (item.what) {
    case "fault": return `partner is told to fail: ${faultInWords(item.fault)}`;
    case "repaired": return "partner works again";
    case "holding": return `holds events: ${item.detail || "a try failed"}`;
    case "suspended": return `suspended: ${item.detail}${held}`;
    case "resuming": return `resuming, oldest first${held}`;
    case "healthy": return "healthy, nothing is held";
    case "buried": return `dead letters: ${item.detail}`;
    default: return [PHASES[item.what] ?? item.what, item.detail].filter(Boolean).join(", ");
  }
}
