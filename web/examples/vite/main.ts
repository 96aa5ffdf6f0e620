import { Killick, KillickError, type Generation } from 'killick';

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const [form, prompt, go, stop] = [element<HTMLFormElement>('form'), element<HTMLInputElement>('prompt'), element<HTMLButtonElement>('go'), element<HTMLButtonElement>('stop')];
const [status, text] = [element<HTMLOutputElement>('status'), element('text')];

try {
  const engine = await Killick.load({
    model: 'killick-4m',
    onProgress: ({ phase, done, total }) => (status.value = `${phase} ${Math.round((100 * done) / total)} %`),
  });
  status.value = `${engine.model.name} on ${engine.device.name || engine.device.backend}`;
  go.disabled = false;
  let going: Generation | null = null;
  form.onsubmit = async (event) => {
    event.preventDefault();
    [go.disabled, stop.disabled, text.textContent] = [true, false, prompt.value];
    going = engine.generate(prompt.value, { maxTokens: 60, temperature: 0 });
    for await (const piece of going) text.append(piece.text);
    const { tokens, decodeMs } = await going.result;
    status.value = `${tokens} tokens, ${(((tokens - 1) / decodeMs) * 1000).toFixed(0)} tokens/s`;
    [go.disabled, stop.disabled] = [false, true];
  };
  stop.onclick = () => going?.stop();
} catch (error) {
  status.value = error instanceof KillickError ? `${error.code}: ${error.message}` : String(error);
}
