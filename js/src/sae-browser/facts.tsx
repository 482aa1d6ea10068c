/** Names and values, side by side. */
import { Breakable } from "../lib/breakable";
import type { SaeFact, Setting } from "../lib/wire";

export function Facts({ facts, label }: { facts: readonly SaeFact[]; label: string }) {
  return (
    <dl class="kv" aria-label={label}>
      {facts.map((fact) => (
        <>
          <dt key={`${fact.label}-name`}>{fact.label}</dt>
          <dd key={fact.label}>{fact.code ? <code>{fact.value}</code> : fact.value}</dd>
        </>
      ))}
    </dl>
  );
}

export function Settings({ settings, label }: { settings: readonly Setting[]; label: string }) {
  if (settings.length === 0) return <p class="sm t2">Its files carry no configuration.</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard
    <div class="xs-scroll tall" tabIndex={0}>
      <table class="settings" aria-label={label}>
        <tbody>
          {settings.map((setting) => (
            <tr key={setting.name}>
              <th scope="row">
                <Breakable text={setting.name} />
              </th>
              <td>
                <code>{setting.value}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
