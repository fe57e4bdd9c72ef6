"""The page in a real browser: what it shows, how it updates, and that no text becomes markup."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from popwatch.aws.store import SweepCheckpoint
from popwatch.model.health import State
from popwatch.model.outcomes import ErrorCode
from popwatch.web.authentication import COOKIE, Authentication, PageSecret
from tests.browser.conftest import DESKTOP, PHONE, SERVER_ENDS, Open, Serve, axe
from tests.integration.fleet import page_of, put_fleet, put_record, put_transition, watch_for
from tests.integration.world import MINUTE, World, new_world

pytestmark = pytest.mark.debian

PASSWORD = "correct-horse-battery"
HOSTILE = "<img src=x onerror=alert(1)>\"'&<script>alert(2)</script>"


SCREENSHOTS = Path(__file__).parents[2] / ".popwatch" / "screenshots"


def picture(page: Any, name: str) -> None:
    """Pictures for people to look at, light and dark, as wide as a desk's window and as a phone."""
    for width, size in (("desk", DESKTOP), ("phone", PHONE)):
        page.set_viewport_size(size)
        for colours in ("light", "dark"):
            page.emulate_media(color_scheme=colours)
            page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{colours}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def names(page: Any) -> list[str]:
    """The visible targets, from the top."""
    return list(page.locator(".target:visible h3").all_text_contents())


def state_of(page: Any, name: str) -> str:
    row = page.locator(".target", has=page.get_by_role("button", name=name, exact=True))
    return str(row.locator(".state > span").first.text_content())


def test_targets_are_shown_worst_first(world: World, open_page: Open, serve: Serve) -> None:
    """The state as text, the error's exact message, the certificate, 90 days as bars, and a summary in the title."""
    put_fleet(world, 5)
    with serve(world) as address:
        page = open_page(address)
        page.wait_for_selector(".target")
        assert names(page) == ["Mail Rome 001", "Mail Oslo 002", "Mail Paris 003", "Mail Berlin 000", "Mail Madrid 004"]
        assert [state_of(page, name) for name in names(page)] == ["DOWN", "WARN", "MAINTENANCE", "UP", "UP"]
        first = page.locator(".target").first.inner_text()
        assert "The remote device timed out before sending a response (no-greeting)" in first
        assert "certificate: 6 days left" in first
        assert "alert 1 of 3" in first
        assert page.title() == "1 down - popwatch"
        page.wait_for_selector('.bars[aria-label*="%"]')
        assert page.locator("#summary").inner_text().startswith("1 of 5 targets down; the last sweep was")


def test_a_change_is_shown_without_flicker(
    world: World, open_page: Open, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row moves up with its new state; it is the same element, keeps the focus, and the change is announced."""
    put_fleet(world, 40)
    with serve(world) as address:
        page = open_page(address)
        page.wait_for_selector('.target[data-id="mail-athens-009"]')
        page.evaluate("document.querySelector('[data-id=mail-athens-009]').mine = true")
        page.locator('[data-id="mail-athens-009"] h3 button').focus()
        page.evaluate("""window.removed = 0; new MutationObserver((found) => {
            for (const change of found) window.removed += change.removedNodes.length;
        }).observe(document.querySelector('#targets'), { childList: true })""")
        time.sleep(1.2)
        assert page.evaluate("window.removed") == 0
        put_record(world, "mail-athens-009", State.DOWN, world.now)
        began = time.monotonic()
        page.wait_for_selector('[data-id="mail-athens-009"] .state.down')
        took = time.monotonic() - began
        with capsys.disabled():
            print(f"\nFrom a state's change to the page showing it: {took:.2f} s, asking each 0.5 s")
        assert page.evaluate("document.querySelector('[data-id=mail-athens-009]').mine")
        assert page.evaluate("document.activeElement.textContent") == "Mail Athens 009"
        assert "Mail Athens 009" in names(page)[:3]
        assert page.locator("#news").inner_text() == "Mail Athens 009 is now down."


def test_details_of_a_target(world: World, open_page: Open, serve: Serve) -> None:
    """All its data, by mouse, by keyboard and by its own address; a selection survives refreshes."""
    put_fleet(world, 5)
    with serve(world) as address:
        page = open_page(address)
        page.wait_for_selector(".target")
        page.get_by_role("button", name="Mail Berlin 000").press("Enter")
        page.wait_for_selector(".more .chart")
        text = page.locator(".more").inner_text()
        assert "4 min 10 s after an outage begins" in text
        assert "288 tests, 0 failed" in text
        assert "Outages of 90 days" in text
        assert page.url.endswith("?target=mail-berlin-000")
        assert page.locator(".more a").last.inner_text() == page.url
        page.locator(".more table").first.evaluate("node => getSelection().selectAllChildren(node)")
        time.sleep(1.2)
        assert page.evaluate("getSelection().toString()").startswith("From")
        page.get_by_role("button", name="Mail Berlin 000").press("Enter")
        assert page.locator(".more").count() == 0
        assert page.url == address
        other = open_page(f"{address}?target=mail-rome-001")
        other.wait_for_selector(".more .chart")
        assert "12 failed" in other.locator(".more").inner_text()


@pytest.mark.parametrize(
    ("minutes", "bars", "text"),
    [
        (1, "Tests: 1 test, 0 failed", "One test so far"),
        (6, "Tests: 6 tests, 0 failed", "Last 5 min"),
        (300, "Hours: 100 % of 4 h, 0 outages", "Last 5 h"),
    ],
)
def test_a_young_installation_looks_alive(
    open_page: Open, servers: ExitStack, minutes: int, bars: str, text: str
) -> None:
    """A bar for each test of the first hour, then one for each hour; nothing that was tested is called untested."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    world = servers.enter_context(new_world(now=now - (minutes - 1) * MINUTE))
    watch_for(world, minutes)
    address = servers.enter_context(page_of(world))
    page = open_page(f"{address}?target=steady")
    page.wait_for_selector(".more")
    page.wait_for_selector(f'[data-id="steady"] .bars[aria-label="{bars}"]')
    assert text in page.locator(".more").inner_text()
    footer = page.locator("footer").inner_text()
    assert footer.startswith(f"Each bar is {'a test' if minutes < 60 else 'an hour'}:")
    times = page.locator(".more .axis").last.locator("span").all_text_contents()
    assert len(times) == len(set(times)) == (1 if minutes == 1 else 5)
    drawn = page.locator('[data-id="steady"] .bars .up').get_attribute("d").count("M")
    assert drawn == (minutes if minutes < 60 else len({(now - n * MINUTE).hour for n in range(minutes)}))
    assert page.locator('[data-id="shaky"] .bars path.down').count() == (1 if minutes < 60 else 0)
    words = page.locator("main").inner_text().lower()
    assert "never tested" not in words
    assert "not tested yet" not in words
    page.locator('[data-id="steady"] .bars').hover(position={"x": 215, "y": 5})
    assert page.locator('[data-id="steady"] .history').get_attribute("title").startswith(f"{now:%Y-%m-%d}")
    picture(page, f"page-after-{minutes}-minutes")


def test_times_are_in_one_zone(world: World, open_page: Open, serve: Serve) -> None:
    """That of the browser, the days of the bars and the times in remarks too; each says what it is in UTC."""
    put_fleet(world, 5)
    until = world.now + timedelta(hours=3)
    silence = {"from": world.now.isoformat(), "until": until.isoformat(), "why": "new disk"}
    world.put_target("mail-rome-001", host="pop1.example.net", silence=silence)
    zone = ZoneInfo("Australia/Adelaide")
    with serve(world) as address:
        page = open_page(f"{address}?target=mail-rome-001", zone="Australia/Adelaide")
        page.wait_for_selector(".more")
        assert (
            f"silenced until {until.astimezone(zone):%Y-%m-%d %H:%M:%S}" in page.locator(".remark").first.inner_text()
        )
        assert page.locator(".remark time").first.get_attribute("title") == f"{until:%Y-%m-%d %H:%M:%S} UTC"
        for shown in page.locator("time").all():
            local = datetime.strptime(shown.inner_text(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone)
            assert f"{local.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" == shown.get_attribute("title")
        assert " UTC" not in page.locator(".more").inner_text()
        assert "(Australia/Adelaide)" in page.locator("footer").inner_text()


def test_a_test_in_flight_is_being_made(world: World, open_page: Open, serve: Serve) -> None:
    """`testing` from when it is due until a sweep must have made it; before that the time left, after it the delay."""
    world.put_target("mail")
    world.put_target("idle", enabled=False)
    world.store.put_checkpoint(SweepCheckpoint(world.now, None, {"1": world.now.isoformat()}))
    with serve(world) as address:
        page = open_page(address)
        for seconds, text in ((25, "next in 25 s"), (0, "testing"), (-60, "testing"), (-180, "due for 3 min")):
            put_record(world, "mail", State.DOWN, world.now, next_test_at=world.now + timedelta(seconds=seconds))
            page.get_by_text(text, exact=True).wait_for()
        assert "next in" not in page.locator('[data-id="idle"]').inner_text()


def test_an_alert_says_what_it_said_and_to_whom(open_page: Open, servers: ExitStack) -> None:
    """Its email and SMS, the topics, and the receivers by today's subscriptions; what is unfolded stays so."""
    world = servers.enter_context(new_world(now=datetime.now(UTC).replace(second=0, microsecond=0) - 5 * MINUTE))
    watch_for(world, 6)
    for receivers, text in (
        (["m...@example.net", "+49...77"], "By today's subscriptions it goes to m...@example.net, +49...77."),
        ([], "By today's subscriptions no one receives it."),
        (None, "Who receives it by today's subscriptions, `popwatch history broken` says."),
    ):
        address = servers.enter_context(page_of(world, receivers=lambda _, found=receivers: found))  # type: ignore[misc]
        page = open_page(f"{address}?target=broken")
        page.locator(".more summary").click()
        said = page.locator(".more details").inner_text()
        assert "to the alert topic and the SMS topic." in said
        assert text in said
        assert "The remote device timed out before sending a response" in said
        assert said.count("DOWN") >= 3
    world.minute(world.now + 2 * MINUTE)
    page.get_by_text("failed", exact=False).first.wait_for()
    page.wait_for_timeout(1500)
    assert page.locator(".more details[open]").count() == 1
    assert axe(page) == []


def test_an_address_shows_what_it_says(world: World, open_page: Open, serve: Serve) -> None:
    """Filters, search and order are in it; the target in it is shown even if the filters beside it no longer do."""
    put_fleet(world, 40)
    world.put_target("mail-oslo-002", name="Mail Oslo 002", host="pop2.example.net", tags=["old & odd"])
    with serve(world) as address:
        page = open_page(address)
        page.wait_for_selector(".target")
        page.locator("#tag").select_option("=berlin")
        page.locator("#sort").select_option("name")
        page.locator('#groups button[data-key="=archive"]').click()
        assert names(page) == ["Mail Berlin 010", "Mail Berlin 030"]
        page.locator("#search").fill("pop30")
        page.wait_for_url(f"{address}?group=archive&tag=berlin&search=pop30&sort=name")
        other = open_page(page.url)
        other.wait_for_selector(".target:visible")
        assert names(other) == ["Mail Berlin 030"]
        assert (other.locator("#tag").input_value(), other.locator("#search").input_value()) == ("=berlin", "pop30")
        other.keyboard.press("Escape")
        assert len(names(other)) == 40
        assert other.url == f"{address}?sort=name"
        odd = open_page(f"{address}?tag=old+%26+odd&target=mail-paris-033&sort=nonsense&state=nonsense")
        odd.wait_for_selector(".more")
        assert len(names(odd)) == 40
        for _ in range(20):  # the browser scrolls after the details are there, in frames of its own
            box = odd.locator('[data-id="mail-paris-033"]').bounding_box()
            if -1 < box["y"] < 800:
                break
            odd.wait_for_timeout(100)
        assert -1 < box["y"] < 800
        odd.locator(".more .choice", has_text="staff").click()
        assert odd.url == f"{address}?target=mail-paris-033&group=staff"
        gone = open_page(f"{address}?target=gone")
        gone.wait_for_selector("#notice:visible")
        assert gone.locator("#notice").inner_text() == "There is no target gone. It may have been removed."
        old = open_page(f"{address}#mail-rome-001")
        old.wait_for_selector(".more")
        assert old.url == f"{address}?target=mail-rome-001"


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("worst", "Mail Lisbon 037"),
        ("name", "Mail Athens 009"),
        ("group", "Mail Berlin 010"),
        ("changed", "Mail Oslo 002"),
    ],
)
def test_sorting(world: World, open_page: Open, serve: Serve, sort: str, first: str) -> None:
    """By name in natural order, by group, by round-trip time, by the last change."""
    put_fleet(world, 40)
    put_record(world, "mail-oslo-002", State.WARN, world.now)
    with serve(world) as address:
        page = open_page(f"{address}?sort={sort}")
        page.wait_for_selector(".target")
        assert names(page)[0] == first
        page.locator("#sort").select_option("slowest")
        rtts = [
            float(text.removesuffix(" ms"))
            for text in page.locator(".result > span:first-child").all_inner_texts()
            if text.endswith(" ms")
        ]
        assert rtts == sorted(rtts, reverse=True)


def test_finding_targets(world: World, open_page: Open, serve: Serve) -> None:
    """By search, by state and by group, with the keyboard alone."""
    put_fleet(world, 40)
    with serve(world) as address:
        page = open_page(address)
        page.wait_for_selector(".target")
        page.keyboard.press("/")
        page.keyboard.type("pop1.example")
        assert names(page) == ["Mail Rome 001"]
        assert page.locator("#shown").inner_text() == "1 of 40 shown"
        page.keyboard.press("Escape")
        assert len(names(page)) == 40
        page.locator('#states button[data-key="warn"]').press("Space")
        assert {state_of(page, name) for name in names(page)} == {"WARN"}
        page.locator('#states button[data-key="warn"]').press("Space")
        page.locator('#groups button[data-key="=archive"]').press("Enter")
        assert len(names(page)) == 10
        page.locator("#search").fill("no such target")
        assert page.locator("#empty").inner_text() == "No target matches."


def test_a_runbook_is_a_link_only_to_the_web(world: World, open_page: Open, serve: Serve) -> None:
    """Its address as a link, any other text as text; the notes beside it as they are."""
    world.put_target("web", runbook="https://wiki.example.net/pop?x=1", notes="Ask <Ann> first.")
    world.put_target("script", runbook="javascript:alert(1)")
    world.store.put_checkpoint(SweepCheckpoint(world.now, None, {"1": world.now.isoformat()}))
    with serve(world) as address:
        page = open_page(f"{address}?target=web")
        page.wait_for_selector(".more")
        link = page.get_by_role("link", name="https://wiki.example.net/pop?x=1")
        assert link.get_attribute("href") == "https://wiki.example.net/pop?x=1"
        assert "Ask <Ann> first." in page.locator(".more").inner_text()
        page.get_by_role("button", name="script").click()
        page.get_by_text("javascript:alert(1)").wait_for()
        assert page.locator(".more a").all_inner_texts() == [f"{address}?target=script"]


def test_hostile_texts_stay_text(world: World, open_page: Open, serve: Serve) -> None:
    """Names, details, groups and reasons with markup are shown as written, and no script in them runs."""
    put_fleet(world, 3)
    world.put_target(HOSTILE[:100], name=HOSTILE[:100], host="h.example.net", group=HOSTILE[:90], tags=[HOSTILE[:90]])
    put_transition(world, HOSTILE[:100], 1, State.UP, State.DOWN, world.now - timedelta(minutes=3))
    put_record(world, HOSTILE[:100], State.LOST, world.now, detail=HOSTILE, error=(ErrorCode.PROTOCOL, HOSTILE))
    with serve(world) as address:
        page = open_page(address)
        page.wait_for_selector(".target")
        assert names(page)[0] == HOSTILE[:100]
        page.locator(".target h3 button").first.click()
        page.wait_for_selector(".more")
        assert HOSTILE in page.locator(".more").inner_text()
        assert page.locator("main img, main script, main iframe").count() == 0
        page.wait_for_timeout(500)


def test_a_banner_says_that_popwatch_has_stopped(world: World, open_page: Open) -> None:
    """A banner above all targets if the last sweep is old, and if the server does not answer."""
    put_fleet(world, 3)
    world.now += timedelta(minutes=30)
    with page_of(world) as address:
        page = open_page(address, allow=SERVER_ENDS)
        page.wait_for_selector("#banner:visible")
        assert (
            page.locator("#banner").inner_text().startswith("Nothing is being watched: the last sweep was 30 min ago")
        )
        assert page.title() == "stopped - popwatch"
        world.store.put_checkpoint(SweepCheckpoint(world.now, None, {"1": world.now.isoformat()}))
        page.wait_for_selector("#banner", state="hidden")
    page.wait_for_selector("#banner:visible")
    assert page.locator("#banner").inner_text().startswith("Not updated since ")


@pytest.mark.parametrize("width", [1280, 768, 360, 320])
def test_nothing_is_wider_than_the_window(world: World, open_page: Open, serve: Serve, width: int) -> None:
    """The page never scrolls sideways, with details and long names either."""
    put_fleet(world, 20)
    world.put_target("long", name="x" * 100, host=f"{'a' * 60}.{'b' * 60}.example.net", group="y" * 90)
    with serve(world) as address:
        page = open_page(f"{address}#mail-rome-001", size={"width": width, "height": 800})
        page.wait_for_selector(".more .chart")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width >= PHONE["width"]:
            tables = "[...document.querySelectorAll('.more .wide')].map((box) => box.scrollWidth - box.clientWidth)"
            assert set(page.evaluate(tables)) == {0}


def test_many_groups(world: World, open_page: Open, serve: Serve) -> None:
    """They are in natural order, those with most failing targets among them; on a phone they are one line."""
    for number in range(1, 15):
        name = f"pop-{number}"
        world.put_target(name, name=name, host=f"{name}.example.net", group=f"customer with a long name {number}")
        put_record(world, name, State.DOWN if number == 14 else State.UP, world.now)
    with serve(world) as address:
        page = open_page(f"{address}?group=customer+with+a+long+name+13", size=PHONE)
        page.wait_for_selector(".target:visible")
        shown = [text.split(":")[0].rpartition(" ")[2] for text in page.locator("#groups button").all_text_contents()]
        assert shown == [*map(str, range(1, 12)), "13", "14", "groups"]
        chosen = page.locator("#groups button[aria-pressed=true]").bounding_box()
        assert 0 <= chosen["x"] < PHONE["width"] / 2
        assert page.locator("#groups").bounding_box()["height"] < 60
        page.locator("#clear").click()
        assert page.locator(".target:visible").first.bounding_box()["y"] < 400
        page.set_viewport_size(DESKTOP)
        assert page.evaluate("document.querySelector('#groups').scrollWidth") <= DESKTOP["width"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing(world: World, open_page: Open, serve: Serve, size: Any, dark: bool) -> None:
    """No violation in the list, in details, or on the sign-in page."""
    put_fleet(world, 30)
    with serve(world) as address, serve(world, authentication_of(world)) as closed:
        page = open_page(f"{address}#mail-rome-001", size=size, dark=dark)
        page.wait_for_selector(".more .chart")
        assert axe(page) == []
        assert axe(open_page(f"{closed}sign-in", size=size, dark=dark)) == []


def authentication_of(world: World) -> Authentication:
    return Authentication(lambda: PageSecret(PASSWORD), lambda: world.now, lambda: None)


def test_signing_in_and_out(world: World, open_page: Open, serve: Serve) -> None:
    """No data before sign-in; a message for a wrong password; no access by scripts to the cookie; sign-out ends it."""
    put_fleet(world, 3)
    with serve(world, authentication_of(world)) as found:
        address = found.replace("127.0.0.1", "localhost")
        page = open_page(address, allow=("401",))
        assert page.url == f"{address}sign-in"
        page.fill("#password", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        assert page.locator("[role=alert]").inner_text() == "The password is wrong."
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector(".target")
        [cookie] = page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (
            COOKIE,
            True,
            True,
            "Strict",
        )
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{address}sign-in")
        page.goto(address)
        assert page.url == f"{address}sign-in"


def test_a_link_leads_to_its_target_after_the_sign_in(world: World, open_page: Open, serve: Serve) -> None:
    """Also after a wrong password, and after a session has ended."""
    put_fleet(world, 3)
    with serve(world, authentication_of(world)) as found:
        address = found.replace("127.0.0.1", "localhost")
        page = open_page(f"{address}?target=mail-rome-001", allow=("401",))
        assert page.url == f"{address}sign-in?target=mail-rome-001"
        for password in ("wrong", PASSWORD):
            page.fill("#password", password)
            page.keyboard.press("Enter")
            page.wait_for_selector("[role=alert]" if password == "wrong" else ".more")
        assert page.url == f"{address}?target=mail-rome-001"
        page.context.clear_cookies()
        page.wait_for_url(f"{address}sign-in?target=mail-rome-001")


def test_an_ended_session_leads_to_the_sign_in_page(world: World, open_page: Open, serve: Serve) -> None:
    """An open page whose cookie expires goes to the sign-in page."""
    put_fleet(world, 3)
    with serve(world, authentication_of(world)) as found:
        address = found.replace("127.0.0.1", "localhost")
        page = open_page(address, allow=("401",))
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector(".target")
        page.context.clear_cookies()
        page.wait_for_url(f"{address}sign-in")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_no_row_grows_when_its_bars_arrive(world: World, open_page: Open, serve: Serve, size: Any) -> None:
    """What someone reads below it would move away. Nor does a line end with the dash before the group."""
    heights = "[...document.querySelectorAll('.target')].map((it) => it.getBoundingClientRect().height)"
    put_fleet(world, 3)
    with serve(world, refresh_seconds=30) as address:
        page = open_page(address, size=size)
        for place in range(3):
            page.wait_for_selector(
                f'.target >> nth={place} >> .bars[aria-label*="%"]', state="attached", timeout=60_000
            )
        whole = page.evaluate(heights)
        page.evaluate("document.querySelectorAll('.bars + span').forEach((it) => it.replaceChildren())")
        assert page.evaluate(heights) == whole
        assert page.locator(".server").first.text_content().endswith(" -\u2060\u00a0staff")


def test_the_times_below_a_whole_day(world: World, open_page: Open, serve: Serve) -> None:
    """Each stands where it is: the last one is the end, a day after the beginning, though it reads the same."""
    put_fleet(world, 5)
    with serve(world, refresh_seconds=30) as address:
        page = open_page(f"{address}?target=mail-rome-001")
        page.wait_for_selector(".more .chart")
        times = page.locator(".more .axis").last.locator("span").all_text_contents()
        hours = [int(time[:2]) for time in times]
        assert [(hour - hours[0]) % 24 for hour in hours] == [0, 6, 12, 18, 0]


@pytest.mark.parametrize("count", [5, 500])
def test_screenshots(world: World, open_page: Open, serve: Serve, count: int) -> None:
    """Desktop and phone width, light and dark, into .popwatch/screenshots, for people to check."""
    put_fleet(world, count)
    with serve(world, refresh_seconds=30) as address:
        for width, size in (("desk", DESKTOP), ("phone", PHONE)):
            for dark in (False, True):
                page = open_page(address + ("#mail-rome-001" if dark else ""), size=size, dark=dark)
                page.wait_for_selector(".more .chart" if dark else '.bars[aria-label*="%"]', timeout=60_000)
                page.screenshot(path=SCREENSHOTS / f"page-{count}-{width}-{'dark' if dark else 'light'}.png")
                assert page.locator(".target").count() == count
