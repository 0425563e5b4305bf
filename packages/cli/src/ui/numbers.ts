/** Numbers as people read them. */

/** 9437184 -> "9.0 MiB" */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** 7998720 -> "8.0 million" */
export function formatCount(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} billion`;
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)} million`;
  return formatWhole(count);
}

/** 4096 -> "4,096" */
export function formatWhole(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** Three significant digits from 0.01 to 99.9, whole numbers above. */
export function formatMeasure(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

/** "1 case", "2 cases" */
export function plural(count: number, word: string): string {
  return `${formatWhole(count)} ${word}${count === 1 ? "" : "s"}`;
}

/** 42_000 -> "42 s", 750_000 -> "13 min", 9_000_000 -> "2.5 h" */
export function formatDuration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = seconds / 60;
  return minutes < 90 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`;
}
