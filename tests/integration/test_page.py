# SPDX-License-Identifier: GPL-3.0-or-later
"""The page for browsers, in Debian's Chromium: log in, find, copy, delete, and images that attack whoever looks at them.

One deployed host serves all tests, which run in the order of this file. With DRYDOCK_PICTURES=1 they also take the
pictures of docs/page.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import ADDRESS, ROOT, deployed_hosts
from proxy_host import Pair, Site, basic, pem
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

STORAGE = "/var/lib/drydock/registry/docker/registry/v2/repositories"
REPORT = "/var/lib/drydock/maintenance/report.json"
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
URL = f"https://{ADDRESS}/"
# Where Debian's Chromium looks for what an administrator has decided, such as which certificate is shown without a question.
POLICY = Path("/etc/chromium/policies/managed/drydock-test.json")
# What would run, or become an element, where a text were taken for markup.
ATTACK = (
    "</dd></script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><b id=owned>"
)
MANY = 1000
LONG = 10_000


def digest_of(content: bytes) -> str:
    """Return the digest of a blob."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry(Site):
    """A registry whose page is looked at."""

    def blob(self, repository: str, content: bytes, kind: str) -> dict[str, Any]:
        """Push a blob as the admin; return what a manifest says of it."""
        with self.connect() as client:
            begun = client.ask(f"/v2/{repository}/blobs/uploads/", "POST", self.auth("admin"))
            address = begun.headers["location"].partition(ADDRESS)[2]
            done = client.ask(f"{address}&digest={digest_of(content)}", "PUT", self.auth("admin"), content)
            assert done.status == 201, done
        return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}

    def manifest(self, repository: str, tag: str, kind: str, **parts: Any) -> dict[str, Any]:
        """Push a manifest as the admin; return what an index says of it."""
        content = json.dumps({"schemaVersion": 2, "mediaType": kind, **parts}).encode()
        headers = {"Content-Type": kind}
        done = self.answer(f"/v2/{repository}/manifests/{tag}", "PUT", user="admin", headers=headers, body=content)
        assert done.status == 201, done
        return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}

    def image(self, repository: str, tag: str, layers: int = 1, config: Any = None, **parts: Any) -> dict[str, Any]:
        """Push an image as the admin."""
        described = self.blob(repository, json.dumps(config or {}).encode(), CONFIG)
        layer = self.blob(repository, f"layer of {tag}".encode(), LAYER)
        return self.manifest(repository, tag, OCI, config=described, layers=[layer] * layers, **parts)

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository."""
        found = json.loads(self.answer(f"/v2/{repository}/tags/list", user="admin").body).get("tags")
        return sorted(found or [])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Start a host with images of every kind."""
    made = Registry(tmp_path_factory.mktemp("page"), "debian13-deployed", "page")
    made.passwords = {"admin": "the admin's: ü", "reader": "the reader's"}
    made.settings["registry_auth_users"] = [
        {"name": "admin", "password": made.passwords["admin"], "access": "admin"},
        {"name": "reader", "password": made.passwords["reader"], "access": "pull", "repositories": ["team/*"]},
    ]
    made.settings |= {
        "registry_proxy_client_certificates": "optional",
        "registry_proxy_client_ca_certificate": pem(made.authority.certificate),
        "registry_proxy_client_crl": made.authority.crl(),
    }
    with deployed_hosts(made):
        made.play("configure.yml", "--tags=users,proxy")
        config = {
            "os": "linux",
            "architecture": "amd64",
            "created": "2026-11-01T12:30:00Z",
            "config": {"Labels": {"org.opencontainers.image.source": "https://git.example.com/team/app", "empty": ""}},
            "history": [
                {"created": "2026-11-01T12:00:00Z", "created_by": "COPY rootfs /"},
                {"created": "2026-11-01T12:30:00Z", "created_by": 'CMD ["/bin/app"]', "empty_layer": True},
            ],
        }
        image = made.image("team/app", "1.9", config=config, annotations={"org.opencontainers.image.version": "1.9"})
        made.image("team/app", "1.10", config=config)
        made.image("team/app", image["digest"].replace(":", "-") + ".sig")
        platforms = [{"os": "linux", "architecture": name} for name in ("amd64", "arm64")]
        made.manifest("team/app", "latest", INDEX, manifests=[{**image, "platform": one} for one in platforms])
        made.image("secret/app", "1")
        hostile = {
            **dict.fromkeys(("os", "architecture", "created", "variant"), ATTACK),
            "config": {"Labels": {ATTACK: ATTACK, "long": "x" * 100_000, "number": 7, "__proto__": ATTACK}},
            "history": [{"created_by": ATTACK, "created": ATTACK}, None, 7, *[{"created_by": "y"}] * LONG],
        }
        made.image("team/hostile", "attack", LONG, hostile, annotations={ATTACK: ATTACK, "k": "\u202eevil"})
        described = made.blob("team/hostile", b"[] no JSON", ATTACK)
        made.manifest("team/hostile", "nonsense", OCI, config=described, layers=[], annotations={})
        yield made


class Browser:
    """Chromium without a window, and what a user does with it."""

    def __init__(self, registry: Registry, home: str = os.environ["HOME"]) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or "chromium"
        options.accept_insecure_certs = True
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1000,800"),
            f"--host-resolver-rules=MAP {ADDRESS} {registry.ip}",
        ):
            options.add_argument(argument)
        service = Service(shutil.which("chromedriver"), env={**os.environ, "HOME": home})
        self.driver = webdriver.Chrome(options, service)
        self.driver.execute_cdp_cmd(
            "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        )
        self.registry = registry
        self.console: list[str] = []

    def open(self, path: str = "") -> None:
        """Open the page anew."""
        self.driver.get("about:blank")
        self.driver.get(URL + path)

    def log_in(self, user: str, path: str = "", password: str = "") -> None:
        """Open the page and log in on it."""
        self.open(path)
        self.one("#user").send_keys(user)
        self.one("#password").send_keys(password or self.registry.passwords[user] + Keys.ENTER)

    def all(self, selector: str) -> list[WebElement]:
        """Return what there is of a kind now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """Wait for an element that is shown."""

        def shown() -> list[WebElement]:
            return [one for one in self.all(selector) if one.is_displayed()]

        return self.registry.until(shown)[0]

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements of a kind, seen or not."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        return list(self.driver.execute_script(script, selector))

    def wait_for(self, selector: str, *texts: str) -> None:
        """Wait until the elements of a kind have these texts."""
        assert self.registry.until(lambda: self.texts(selector) == list(texts)), (selector, texts)

    def says(self, words: str, selector: str = "main") -> None:
        """Wait until words are on the page."""
        self.registry.until(lambda: words in " ".join(self.texts(selector)))

    def press(self, *keys: str) -> None:
        """Press keys, whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        """Return the name of what has the focus, as a screen reader says it."""
        return str(self.driver.switch_to.active_element.accessible_name)

    def tab_to(self, name: str) -> None:
        """Press the tabulator until something has the focus."""
        for _ in range(20):
            if self.focused() == name:
                return
            self.press(Keys.TAB)
        pytest.fail(f"the tabulator does not lead to {name}")

    def violations(self) -> list[str]:
        """Return what the browser has refused on account of the page's policy so far."""
        self.console += [one["message"] for one in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]
        return [one for one in self.console if "Content Security Policy" in one or "TrustedHTML" in one]

    def picture(self, name: str) -> None:
        """Take a picture for the documentation, where it is asked for."""
        if os.environ.get("DRYDOCK_PICTURES"):
            self.driver.save_screenshot(ROOT / "docs/pictures" / f"page-{name}.png")


@pytest.fixture(scope="module")
def browser(registry: Registry) -> Iterator[Browser]:
    """Start the browser once."""
    made = Browser(registry)
    try:
        yield made
    finally:
        made.driver.quit()


def test_page_is_all_that_is_served_beside_the_api(registry: Registry) -> None:
    kinds = {
        "/": "text/html",
        "/page/page.js": "text/javascript",
        "/page/page.css": "text/css",
        "/page/icon.svg": "image/svg+xml",
    }
    for path, kind in kinds.items():
        found = registry.answer(path)
        assert (found.status, found.headers["content-type"], found.headers["cache-control"]) == (200, kind, "no-cache")
        assert "trusted-types 'none'" in found.headers["content-security-policy"]
        assert registry.answer(path, "POST").status == 403
        assert registry.answer(path, host="elsewhere.test").status == 421
    others = (
        "nginx.conf",
        "../nginx.conf",
        "%2e%2e/nginx.conf",
        "..%2fnginx.conf",
        "page.js/",
        "page.js%00",
        "page.mjs",
        "",
    )
    for other in (*others, "index.html"):
        assert registry.answer(f"/page/{other}").status in {400, 404}, other


def test_wrong_password_is_told_on_the_page(browser: Browser, registry: Registry) -> None:
    # A browser asks in a window of its own whatever a server challenges.
    wrong = basic("admin", "wrong")
    assert "www-authenticate" in registry.answer("/v2/", headers=wrong).headers
    assert "www-authenticate" not in registry.answer("/v2/", headers={**wrong, "Drydock-Page": "yes"}).headers
    browser.log_in("admin", password="wrong" + Keys.ENTER)
    browser.says("The user or the password is wrong.")
    assert browser.texts("h1") == ["Log in"]
    browser.one("#password").clear()
    browser.one("#password").send_keys(registry.passwords["admin"] + Keys.ENTER)
    browser.wait_for("#repositories a", "secret/app", "team/app", "team/hostile")


def import_certificate(home: Path, pair: Pair) -> None:
    """Give a browser a certificate, as a user would, and have it shown without a question."""
    bundle, store = home / "client.p12", home / ".pki/nssdb"
    store.mkdir(parents=True)
    export = (
        "openssl",
        "pkcs12",
        "-export",
        "-in",
        pair.cert,
        "-inkey",
        pair.private,
        "-passout",
        "pass:",
        "-out",
        bundle,
    )
    new = ("certutil", "-N", "--empty-password", "-d", f"sql:{store}")
    for command in (export, new, ("pk12util", "-i", bundle, "-W", "", "-d", f"sql:{store}")):
        subprocess.run(command, check=True, capture_output=True)
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    chosen = json.dumps({"pattern": URL, "filter": {}})
    POLICY.write_text(json.dumps({"AutoSelectCertificateForUrls": [chosen]}), encoding="utf-8")


def test_client_certificate_needs_no_password(registry: Registry, tmp_path: Path) -> None:
    import_certificate(tmp_path, registry.authority.issue("reader"))
    certified = Browser(registry, str(tmp_path))
    try:
        certified.open("#/r/team/app")
        certified.wait_for("#tags summary .name", "latest", "1.10", "1.9")
        assert certified.texts("nav .name") == ["reader"]
        certified.driver.execute_script("location.hash = '#/r/secret/app'")
        certified.says("this user may not do that in this repository (403)")
        certified.one("nav button").click()
        certified.wait_for("h1", "Log in")
        certified.says("The browser goes on showing the client certificate until it is closed.")
        certified.one("form button[type=button]").click()
        registry.until(lambda: certified.texts("nav .name") == ["reader"])
        assert certified.violations() == []
    finally:
        certified.driver.quit()
        POLICY.unlink()


def test_users_see_what_they_may_pull(browser: Browser) -> None:
    browser.log_in("reader")
    browser.wait_for("#repositories a", "team/app", "team/hostile")
    browser.one("#search").send_keys("HOST")
    browser.wait_for("#repositories a", "team/hostile")
    browser.one("#search").send_keys("x")
    browser.says("No repository that you may pull has this in its name")
    assert "Storage" not in browser.texts("nav a")
    # What nobody has listed can be asked for, and is refused by the API.
    browser.driver.execute_script("location.hash = '#/r/secret/app'")
    browser.says("this user may not do that in this repository (403)")


def test_tags_say_what_they_are(browser: Browser, registry: Registry) -> None:
    browser.log_in("reader", "#/r/team/app")
    browser.wait_for("#tags summary .name", "latest", "1.10", "1.9")
    browser.says("and 1 of signatures and attachments")
    browser.says("linux/amd64 · 2026-11-01 12:30 UTC · sha256:", "#tags li:nth-child(3)")
    browser.says("linux/amd64, linux/arm64", "#tags li:nth-child(1)")
    browser.one("#tags li:nth-child(3) summary").click()
    for words in (
        *("https://git.example.com/team/app", "(empty)", "COPY rootfs /", "there is one", "in 1 layer"),
        *(
            "org.opencontainers.image.version",
            f"docker pull {ADDRESS}/team/app:1.9",
            f"FROM {ADDRESS}/team/app:1.9@sha256:",
        ),
    ):
        browser.says(words, "#tags li:nth-child(3)")
    browser.picture("tags")
    assert not any("Delete" in text for text in browser.texts("button"))
    headers = registry.auth("reader")
    assert registry.answer("/v2/team/app/manifests/1.9", "DELETE", headers=headers).status == 403
    browser.one("#tags li:nth-child(3) .command:nth-of-type(2) button").click()
    browser.says("Copied", "#said")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == f"podman pull {ADDRESS}/team/app:1.9"


def test_hostile_images_are_shown_as_text(browser: Browser) -> None:
    browser.log_in("reader", "#/r/team/hostile")
    browser.wait_for("#tags summary .name", "nonsense", "attack")
    for summary in browser.all("#tags summary"):
        summary.click()
    browser.says(f"in {LONG} layers")
    for kind in ("dt", "dd", "td", "summary"):
        browser.says(ATTACK, kind)
    browser.says("98000 more characters")
    browser.says(f"and {LONG - 199} more steps")
    # nonsense has no configuration that anybody could read.
    browser.says("in 0 layers", "#tags li:nth-child(1)")
    assert browser.driver.title == "team/hostile - Registry"
    assert browser.all("#owned, main script, main img, main b") == []
    assert browser.driver.execute_script("return document.querySelectorAll('main *').length") < 3000


def test_everything_goes_without_a_mouse(browser: Browser, registry: Registry) -> None:
    browser.open()
    registry.until(lambda: browser.focused() == "User")
    browser.press("reader", Keys.TAB, registry.passwords["reader"], Keys.ENTER)
    browser.wait_for("#repositories a", "team/app", "team/hostile")
    registry.until(lambda: browser.focused() == "Repositories")
    browser.tab_to("Find by name")
    browser.press("app")
    browser.wait_for("#repositories a", "team/app")
    browser.tab_to("team/app")
    browser.press(Keys.ENTER)
    registry.until(lambda: browser.focused() == "team/app" and browser.texts("#tags summary .name"))
    browser.tab_to("Find a tag")
    browser.press("1.9", Keys.TAB)
    browser.wait_for("#tags summary .name", "1.9")
    browser.press(Keys.ENTER)
    browser.says("docker pull")
    browser.tab_to("Copy for docker")
    browser.press(Keys.ENTER)
    browser.says("Copied", "#said")


def test_log_out_forgets_everything(browser: Browser) -> None:
    browser.log_in("reader", "#/r/team/app")
    browser.one("#tags")
    browser.one("#home").click()
    browser.one("#repositories")
    kept = "return [document.cookie, localStorage.length, sessionStorage.length]"
    assert browser.driver.execute_script(kept) == ["", 0, 0]
    browser.one("nav button").click()
    browser.wait_for("h1", "Log in")
    assert browser.texts("nav *") == browser.texts("#repositories") == []
    assert browser.one("#password").get_property("value") == ""
    browser.driver.back()
    browser.wait_for("h1", "Log in")
    browser.driver.get(URL)
    browser.wait_for("h1", "Log in")


def test_tag_is_deleted_by_typing_its_name(browser: Browser, registry: Registry) -> None:
    registry.image("team/short", "keep", config={"os": "linux"})
    registry.image("team/short", "gone")
    browser.log_in("admin", "#/r/team/short")
    browser.wait_for("#tags summary .name", "keep", "gone")
    browser.one("#tags li:nth-child(2) summary").click()
    browser.one("#tags li:nth-child(2) button.bad").click()
    yes = browser.one("dialog button.bad")
    assert not yes.is_enabled()
    browser.press("gon", Keys.ENTER)
    assert not yes.is_enabled()
    browser.press(Keys.ESCAPE)
    registry.until(lambda: not browser.all("dialog"))
    assert registry.tags("team/short") == ["gone", "keep"]
    browser.one("#tags li:nth-child(2) button.bad").click()
    browser.press("gone", Keys.ENTER)
    # This registry is 2.8, which knows no tags here.
    browser.says("goes, with every tag that leads to it", "dialog")
    assert registry.tags("team/short") == ["gone", "keep"]
    browser.press("gone", Keys.ENTER)
    browser.wait_for("#tags summary .name", "keep")
    assert registry.tags("team/short") == ["keep"]


def test_thousands_are_fetched_as_they_are_seen(browser: Browser, registry: Registry) -> None:
    registry.host("systemctl", "start", "drydock-storage.service")
    report = json.loads(registry.host("cat", REPORT).stdout)
    for i in range(MANY):
        report["repositories"][f"load/r{i:04}"] = {
            "tags": MANY,
            "images": 1,
            "size": i << 20,
            "newest": "2026-11-01T12:30:00Z",
        }
    registry.write(REPORT, json.dumps(report))
    registry.image("load/r0000", "t0")
    copy = 'cd "$1" && for i in $(seq 1 999); do cp --recursive t0 "t$i"; done'
    registry.host("sh", "-c", copy, "sh", f"{STORAGE}/load/r0000/_manifests/tags")
    browser.log_in("admin")
    registry.until(lambda: len(browser.texts("#repositories a")) >= 100)
    fetched = (
        "return performance.getEntries().filter((one) => 'encodedBodySize' in one).map((one) => one.encodedBodySize)"
    )
    sizes = browser.driver.execute_script(fetched)
    # The page's files, then from the login to the list, without the seconds in which nobody has typed.
    took = """
        const all = performance.getEntriesByType('resource');
        const lists = all.filter((one) => one.name.includes('/repositories/list'));
        const files = all.filter((one) => one.name.includes('/page/')).map((one) => one.responseEnd);
        return Math.max(...files) + lists.at(-1).responseEnd - lists.at(1).startTime;
    """
    print(f"page: {sum(sizes)} bytes and {browser.driver.execute_script(took):.0f} ms to the first list")
    assert sum(sizes) < 150_000
    assert len(browser.texts("#repositories a")) < MANY / 2
    browser.picture("repositories")
    browser.driver.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    registry.until(lambda: len(browser.texts("#repositories a")) >= 200)
    browser.one("#search").send_keys("r0999")
    browser.wait_for("#repositories a", "load/r0999")
    # What was pushed after the report is opened by its whole name.
    registry.image("team/unlisted", "1")
    browser.one("#search").clear()
    browser.one("#search").send_keys("team/unlisted")
    browser.says("Not in the list: open team/unlisted")
    browser.one("main p a").click()
    browser.wait_for("#tags summary .name", "1")
    browser.driver.execute_script("location.hash = '#/r/load/r0000'")
    browser.says("1000 tags")
    browser.says("sha256:", "#tags li:nth-child(5)")
    asked = (
        "return performance.getEntriesByType('resource').filter((one) => one.name.includes('/r0000/manifests/')).length"
    )
    assert 0 < browser.driver.execute_script(asked) < 150


def test_those_who_run_it_see_the_storage(browser: Browser, registry: Registry) -> None:
    browser.log_in("admin", "#/storage")
    ask = ("openssl", "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", "/etc/drydock/tls/tls.crt")
    minute = registry.host(*ask).stdout.removeprefix("notAfter=").strip()[:16]
    browser.says(f"The certificate ends at {minute} UTC, in ")
    browser.says("A registry answers and reads its storage.")
    for words in ("Garbage", "Collectable now", "Largest images", "team/hostile:attack"):
        browser.says(words)
    browser.picture("storage")
    emulated = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    phone = {"width": 360, "height": 720, "deviceScaleFactor": 1, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.log_in("admin", "#/r/team/app")
    browser.one("#tags li:nth-child(1) summary").click()
    browser.says("Kubernetes")
    # Nothing is wider than the phone.
    assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= 360
    assert browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
    browser.picture("phone")
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_policy_was_never_broken_and_holds(browser: Browser) -> None:
    assert browser.violations() == []
    script = "const s = document.createElement('img'); s.src = 'https://elsewhere.test/x'; document.body.append(s);"
    browser.driver.execute_script(script)
    assert browser.registry.until(lambda: browser.violations() != [])
    markup = "try { document.body.innerHTML = '<b>x</b>'; return '' } catch (error) { return error.name }"
    assert browser.driver.execute_script(markup) == "TypeError"
