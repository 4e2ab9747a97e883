"""Opens a report of eval.py --report in headless Chromium and reports what is wrong with it.

    bash run.sh tools/check_report.py DIR [SCREENSHOTS]   DIR/report.html; PNG files and a PDF into the second folder

Exit code 1 where the console shows an error, anything is asked of a network, an image is missing, or the page is wider
than the screen at 390 or 1200 pixels, in light or dark. Needs chromium or google-chrome on the PATH, and no package.
"""
import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTHS = {'phone': 390, 'desk': 1200}
SCHEMES = 'light', 'dark'
A4 = 718  # pixels, less a margin of 1 cm
ASK = """(width => JSON.stringify({
    wide: document.documentElement.scrollWidth,
    images: document.images.length, figures: document.querySelectorAll('svg').length,
    missing: [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt),
    cut: [...document.querySelectorAll('body *')].filter(e => !e.closest('.wide, svg')
        && (e.getBoundingClientRect().right > width + 1 || e.tagName == 'DL' && e.scrollWidth > e.clientWidth)
        || e.matches('.wide') && e.scrollWidth > e.clientWidth)
        .map(e => e.outerHTML.slice(0, 80))}))"""


def find_chromium():
    """The path of Chromium or Chrome; None where there is none."""
    return next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


class Chromium:
    """A headless browser that is asked over a pipe, in the DevTools protocol: one JSON object, then a NUL."""

    def __init__(self):
        self._profile = tempfile.mkdtemp()
        ours, theirs = os.pipe(), os.pipe()  # to the browser, from it
        given = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (ours[0], theirs[1])]  # clear of 3 and 4
        command = [find_chromium(), '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
                   '--no-first-run', '--disable-background-networking', '--host-resolver-rules=MAP * ~NOTFOUND',
                   f'--user-data-dir={self._profile}', '--remote-debugging-pipe']
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec "$@" 3<&{given[0]} 4>&{given[1]}', 'chromium', *command], pass_fds=given,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for each in (ours[0], theirs[1], *given):
            os.close(each)
        self._to, self._from = os.fdopen(ours[1], 'wb', buffering=0), os.fdopen(theirs[0], 'rb', buffering=0)
        self._number, self._rest, self.events, self._session = 0, b'', [], None
        target = self.ask('Target.createTarget', url='about:blank')['targetId']
        self._session = self.ask('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.ask(f'{domain}.enable')

    def ask(self, method, **params):
        """The result of a method of the protocol; what happens meanwhile comes into `events`."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        self._to.write(json.dumps(message).encode() + b'\0')
        while True:
            answer = self._read()
            if answer.get('id') == self._number:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']
            self.events.append(answer)

    def wait(self, method):
        """Read until an event of that name has come."""
        while not any(event.get('method') == method for event in self.events):
            self.events.append(self._read())

    def _read(self):
        while b'\0' not in self._rest:
            data = os.read(self._from.fileno(), 1 << 20)
            if not data:
                raise RuntimeError('the browser ended before it answered')
            self._rest += data
        message, self._rest = self._rest.split(b'\0', 1)
        return json.loads(message.decode())

    def close(self):
        self._to.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()
        shutil.rmtree(self._profile, ignore_errors=True)


def look(browser, page, width, scheme, media='screen'):
    """What the page is like at a width and in a colour scheme; `wrong` lists complaints."""
    browser.events.clear()
    browser.ask('Emulation.setDeviceMetricsOverride', width=width, height=844, deviceScaleFactor=1,
                mobile=width < 600)
    browser.ask('Emulation.setScrollbarsHidden', hidden=True)
    browser.ask('Emulation.setEmulatedMedia', media=media,
                features=[{'name': 'prefers-color-scheme', 'value': scheme}])
    browser.ask('Page.navigate', url=Path(page).resolve().as_uri())
    browser.wait('Page.loadEventFired')
    # Images further down are loaded when they come near.
    browser.ask('Runtime.evaluate', awaitPromise=True, expression="""(async () => {
        for (const image of document.images) { image.loading = 'eager'; try { await image.decode() } catch {} } })()""")
    found = json.loads(browser.ask('Runtime.evaluate', expression=f'{ASK}({width})')['result']['value'])
    wrong = [f'the page is {found["wide"]} pixels wide'] if found['wide'] > width else []
    wrong += [f'cut off: {each}' for each in found['cut']]
    wrong += [f'missing image: {each}' for each in found['missing']]
    return {**found, 'wrong': wrong + list(complaints(browser.events))}


def complaints(events):
    """What the browser itself complains of, and every request that is not for the file."""
    for event in events:
        params = event.get('params', {})
        if event['method'] == 'Log.entryAdded' and params['entry']['level'] in ('error', 'warning'):
            yield f'console: {params["entry"]["text"]}'
        elif event['method'] == 'Runtime.exceptionThrown' or (
                event['method'] == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning')):
            yield f'console: {params}'
        elif event['method'] == 'Network.requestWillBeSent' and not params['request']['url'].startswith(
                ('file:', 'data:')):
            yield f'asked a network: {params["request"]["url"]}'


def check(folder, screenshots=None):
    """What look() found for each width and scheme, by name; PNG files and a PDF come into `screenshots`."""
    ways = {f'{name} {scheme}': (width, scheme) for scheme in SCHEMES for name, width in WIDTHS.items()}
    ways['print'] = (A4, 'dark', 'print')  # paper is light whatever the screen is
    browser, found = Chromium(), {}
    try:
        for name, way in ways.items():
            found[name] = look(browser, Path(folder) / 'report.html', *way)
            if screenshots:
                picture = browser.ask('Page.captureScreenshot', captureBeyondViewport=True)['data']
                (Path(screenshots) / f'{name.replace(" ", "_")}.png').write_bytes(base64.b64decode(picture))
        pdf = base64.b64decode(browser.ask('Page.printToPDF', preferCSSPageSize=True)['data'])
        if screenshots:
            (Path(screenshots) / 'report.pdf').write_bytes(pdf)
        if not pdf.startswith(b'%PDF'):
            found['print']['wrong'].append('no PDF')
    finally:
        browser.close()
    return found


def main():
    if not sys.argv[1:] or sys.argv[1].startswith('-'):
        sys.exit(__doc__)
    if find_chromium() is None:
        sys.exit('check_report.py needs chromium or google-chrome on the PATH. Install Debian\'s chromium')
    if sys.argv[2:]:
        os.makedirs(sys.argv[2], exist_ok=True)
    found = check(*sys.argv[1:3])
    for name, each in found.items():
        print(f'{name}: ' + ('; '.join(each['wrong']) or f'no fault ({each["images"]} images, {each["figures"]} '
                             f'figures, {each["wide"]} pixels wide)'))
    sys.exit(any(each['wrong'] for each in found.values()))


if __name__ == '__main__':
    main()
