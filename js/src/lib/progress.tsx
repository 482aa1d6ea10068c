/** A progress bar with its percentage. */

interface Props {
  label: string;
  /** 0 to 1. */
  fraction: number;
  /** Its colour. */
  status: string;
}

export function Progress({ label, fraction, status }: Props) {
  const percent = Math.floor(fraction * 100);
  return (
    <div class="prog">
      <div
        class="bar"
        style={{ "--sc": `var(--sw-${status || "accent"})` }}
        role="progressbar"
        aria-label={label}
        aria-valuenow={percent}
        aria-valuemin={0}
        aria-valuemax={100}
      >
        <i style={{ width: `${fraction * 100}%` }} />
      </div>
      <span class="r">{`${percent} %`}</span>
    </div>
  );
}
