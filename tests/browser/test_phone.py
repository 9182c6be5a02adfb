"""What somebody sees who opens the phone."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from offhook.core.signature import sign
from offhook.dev.phone.switches import FaultSwitch
from offhook.dev.session import Session
from testing.commands import PATIENCE, Home, dev, until
from tests.browser.accessibility import violations
from tests.browser.support import BOT, Visit, link_of, visiting

# A picture of one pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cf"
    "c0000003010100c9fe92ef0000000049454e44ae426082"
)


def session_of(home: Home) -> Session:
    (file,) = (home.runtime / "offhook").glob("dev-*.json")
    return Session.read(file)


@contextmanager
def unsorted(home: Home) -> Iterator[None]:
    """Keep what is acknowledged within the context from being sorted into the store."""
    store = session_of(home).store
    with closing(sqlite3.connect(store, isolation_level=None, timeout=PATIENCE)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def hold(page: Page, address: str) -> Callable[[], Route]:
    """Hold the next request for an address; return a function that waits for it."""
    held: list[Route] = []

    def hold_it(route: Route) -> None:
        held.append(route)

    def wait() -> Route:
        while not held:
            page.wait_for_timeout(10)  # the browser hands it over after it has announced it
        return held[0]

    page.route(address, hold_it, times=1)
    return wait


def test_the_phone_has_no_violation(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{visit.base}/phone")
    expect(page.locator("#live")).to_have_text("live")
    assert violations(page) == []

    visit.meet("Grace", channel="whatsapp")
    page.get_by_role("button", name="Phone off").click()
    visit.say("break")
    expect(visit.mine("break")).to_contain_text("failed for good")
    expect(page.locator(".bubble.is-bad")).to_be_visible()
    page.get_by_text("New contact").click()
    visit.turn("Out of order", on=True)
    page.get_by_role("button", name="Attach").click()
    visit.line_of(visit.mine("break"))
    assert violations(page) == []

    visit.line_of(page.locator(".bubble.theirs"))
    page.locator("#line summary").last.click()
    assert violations(page) == []

    page.get_by_role("button", name="Attach").click()
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 390, "height": 844})
    assert violations(page) == []
    page.get_by_role("link", name="Back to conversations").click()
    assert violations(page) == []


def test_a_text_is_answered_and_the_ticks_arrive(visit: Visit) -> None:
    visit.say("hello")
    expect(visit.mine("hello")).to_contain_text(re.compile(r"acknowledged [\d.]+\sm?s"))
    reply = visit.theirs("You said: hello")
    expect(reply).to_have_attribute("data-state", "delivered")
    expect(reply.get_by_role("img", name="delivered")).to_be_visible()
    expect(visit.page.locator(".entry").first).to_contain_text("You said: hello")

    visit.page.reload()
    expect(visit.theirs("You said: hello")).to_have_count(1)
    expect(visit.mine("hello")).to_have_count(1)


def test_the_line_shows_the_webhook_as_it_was_signed(visit: Visit, home: Home) -> None:
    visit.say("hello")
    expect(visit.theirs("You said: hello")).to_have_attribute("data-state", "delivered")
    line = visit.line_of(visit.mine("hello"))
    expect(line).to_contain_text("Acknowledged with 200")
    expect(line).to_contain_text("Handler answer, attempt 1: returned.")

    cells = line.get_by_role("table", name="Parameters").locator("tr").all()
    shown = [tuple(row.locator("th, td").all_inner_texts()) for row in cells]
    params = [(name, "" if value == "—" else value) for name, value in shown]
    assert ("Body", "hello") in params
    session = session_of(home)
    url = f"{session.url}/twilio/messages"
    expected = sign(url=url, params=params, auth_token=session.auth_token)
    headers = line.get_by_role("table", name="Headers")
    expect(headers.get_by_role("row", name="X-Twilio-Signature")).to_contain_text(expected)

    line.get_by_role("link", name="Reply").click()
    expect(line.locator(".line-title")).to_have_text("You said: hello")
    expect(line).to_contain_text("201, accepted")
    expect(line).to_contain_text("Status sent reported, answered 204")
    expect(line).to_contain_text("Status delivered reported, answered 204")
    sent = line.get_by_role("table", name="Parameters").first
    expect(sent.get_by_role("row", name="Body")).to_contain_text("You said: hello")

    line.get_by_role("link", name="“hello”").click()
    line.get_by_role("button", name="Copy SID").click()
    expect(line.get_by_role("button", name="Copied")).to_be_visible()
    line.get_by_role("button", name="Send again").click()
    expect(visit.theirs("You said: hello")).to_have_count(2)
    line.get_by_role("link", name="Dashboard").click()
    expect(visit.page.locator("#message")).to_contain_text("hello")
    visit.page.get_by_role("link", name="On the phone").click()
    expect(visit.page.locator("#talk").get_by_role("heading")).to_have_text("Ada")
    expect(line.locator(".line-title")).to_have_text("hello")


def test_a_message_delivered_twice_is_one_message(visit: Visit) -> None:
    visit.turn("Deliver twice", on=True)
    visit.say("hello")
    expect(visit.theirs("You said: hello")).to_have_attribute("data-state", "delivered")
    expect(visit.mine("hello")).to_have_count(1)
    expect(visit.mine("hello")).to_contain_text("delivered 2 times, one message")
    line = visit.line_of(visit.mine("hello"))
    expect(line.locator(".fold-title", has_text="Delivery")).to_have_text(
        ["Delivery 1", "Delivery 2"]
    )
    expect(line).to_contain_text("stored once")
    expect(visit.page.locator(".bubble.theirs")).to_have_count(1)


def test_who_opts_out_gets_nothing_until_they_opt_in(visit: Visit) -> None:
    visit.say("STOP")
    expect(visit.page.locator(".talk-head")).to_contain_text("Ada has opted out")
    refused = visit.theirs("Sorry to see you go")
    expect(refused).to_contain_text("refused: error 21610")
    expect(refused).to_contain_text("opted out with STOP")
    expect(visit.page.locator("#announcer")).to_contain_text("Not delivered")

    visit.say("START")
    expect(visit.theirs("You said: START")).to_have_attribute("data-state", "delivered")
    expect(visit.page.locator(".talk-head")).not_to_contain_text("opted out")


def test_a_phone_that_is_off_gets_nothing(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Phone off").click()
    expect(visit.page.locator(".talk-head")).to_contain_text("phone is off")
    visit.say("hello")
    expect(visit.theirs("You said: hello")).to_contain_text("not delivered: error 30003")


def test_replies_wait_while_twilio_takes_no_more(visit: Visit) -> None:
    visit.turn("Answer 429", on=True)
    visit.say("hello")
    reply = visit.theirs("You said: hello")
    expect(reply).to_contain_text("waiting: 429")
    visit.turn("Answer 429", on=False)
    expect(reply).to_have_attribute("data-state", "delivered")
    expect(visit.line_of(reply).locator(".course")).to_contain_text("too many requests; will retry")


@pytest.mark.parametrize("part", [".bubble-text", ".bubble-meta"])
def test_a_click_counts_though_the_message_is_redrawn_meanwhile(visit: Visit, part: str) -> None:
    visit.turn("Answer 429", on=True)
    visit.say("hello")
    reply = visit.theirs("You said: hello")
    expect(reply).to_contain_text("waiting: 429")
    reply.locator(part).hover()
    visit.page.mouse.down()
    visit.order("switches", {"switch": FaultSwitch.LIMIT, "on": False})
    expect(reply).to_have_attribute("data-state", "delivered")
    visit.page.mouse.up()
    expect(visit.page.locator("#line .line-title")).to_have_text("You said: hello")


def test_a_click_in_the_list_counts_though_the_entry_is_redrawn_meanwhile(visit: Visit) -> None:
    visit.turn("Answer 429", on=True)
    visit.say("hello")
    expect(visit.theirs("You said: hello")).to_contain_text("waiting: 429")
    visit.meet("Grace")
    entry = visit.page.locator(".entry").first
    expect(entry.get_by_role("img", name="failed:")).to_be_visible()
    entry.hover()
    visit.page.mouse.down()
    visit.order("switches", {"switch": FaultSwitch.LIMIT, "on": False})
    expect(entry.get_by_role("img", name="failed:")).to_have_count(0)
    visit.page.mouse.up()
    expect(visit.page.locator("#talk").get_by_role("heading")).to_have_text("Ada")


def test_a_reply_whose_answer_was_lost_is_sent_once(visit: Visit) -> None:
    visit.turn("Drop the connection", on=True)
    visit.say("hello")
    reply = visit.theirs("You said: hello")
    expect(reply).to_have_attribute("data-state", "delivered")
    expect(reply).to_have_count(1)
    line = visit.line_of(reply)
    expect(line.locator(".course")).to_contain_text("the connection broke before the answer")
    expect(line.locator(".course")).to_contain_text("it was sent after all")


def test_statuses_out_of_order_do_not_move_a_reply_backwards(visit: Visit) -> None:
    visit.turn("Out of order", on=True)
    visit.say("hello")
    reply = visit.theirs("You said: hello")
    line = visit.line_of(reply)
    reported = line.locator(".course li", has_text="reported").locator("strong")
    expect(reported).to_have_text(["delivered", "sent"])
    expect(reply).to_have_attribute("data-state", "delivered")


def test_a_slow_network_slows_the_line(visit: Visit) -> None:
    visit.turn("Slow network", on=True)
    visit.say("hello")
    reply = visit.theirs("You said: hello")
    expect(reply).to_have_attribute("data-state", "delivered")
    mine = visit.mine("hello")
    line = visit.line_of(mine)
    expect(line).to_contain_text("Acknowledged")
    posted = line.locator(".course-at").first.inner_text()
    written = mine.locator("time").get_attribute("datetime") or ""
    assert (past_the_hour(posted) - past_the_hour(written)) % 3600 > 0.99
    expect(visit.line_of(reply)).to_contain_text(re.compile(r"REST call, [1-9][\d.]*\ss: 201"))


def past_the_hour(moment: str) -> float:
    """Return the seconds past the hour of a time, which may be in another zone."""
    (found,) = re.findall(r"\d:(\d\d):([\d.]+)", moment)
    return 60 * int(found[0]) + float(found[1])


def test_what_is_written_while_a_message_is_sent_stays(visit: Visit) -> None:
    held = hold(visit.page, "**/phone/texts")
    box = visit.page.get_by_role("textbox", name="Message as")
    box.fill("hello")
    visit.page.keyboard.press("Enter")
    request = held()
    visit.page.keyboard.press("Enter")
    box.fill("goodbye")
    request.continue_()
    expect(visit.theirs("You said: hello")).to_have_attribute("data-state", "delivered")
    expect(box).to_have_value("goodbye")
    visit.page.keyboard.press("Enter")
    expect(visit.theirs("You said: goodbye")).to_be_visible()
    expect(visit.page.locator(".bubble.mine")).to_have_count(2)


def test_what_is_chosen_while_a_message_is_sent_stays(visit: Visit, tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    for picture in (first, second):
        picture.write_bytes(PIXEL)
    visit.meet("Grace", channel="whatsapp")
    page = visit.page
    file, place = page.get_by_label("From this computer"), page.get_by_label("Place")
    page.get_by_role("button", name="Attach").click()
    file.set_input_files(first)
    preview = page.get_by_role("img", name="The picture that was chosen")
    expect(preview).to_be_visible()
    assert preview.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 1
    page.get_by_role("button", name="Button", exact=True).click()
    page.get_by_label("Button text").fill("Yes")
    held = hold(page, "**/phone/attachments?*")
    page.get_by_role("textbox", name="Message as").fill("look")
    page.keyboard.press("Enter")
    request = held()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Attach").click()
    file.set_input_files(second)
    page.get_by_role("button", name="Location").click()
    place.fill("Ferry Building")
    page.get_by_label("Latitude").fill("37.7955")
    page.get_by_label("Longitude").fill("-122.3937")
    request.continue_()
    look = visit.mine("look")
    expect(look.get_by_role("img", name="first.png")).to_be_visible()
    expect(look).to_contain_text("button pressed")
    expect(look).not_to_contain_text("Ferry Building")

    expect(page.get_by_role("textbox", name="Message as")).to_have_value("")
    expect(page.get_by_label("Button text")).to_have_value("")
    expect(place).to_be_visible()
    expect(page.get_by_label("Longitude")).to_be_focused()
    page.get_by_role("button", name="Send", exact=True).click()
    after = page.locator(".bubble.mine").nth(1)
    expect(after).to_contain_text("Ferry Building")
    expect(after.get_by_role("img", name="second.png")).to_be_visible()
    expect(after).not_to_contain_text("button pressed")
    expect(page.locator(".bubble.mine")).to_have_count(2)


def test_a_message_that_could_not_be_sent_is_still_in_the_form(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Attach").click()
    page.get_by_label("Or a link").fill("https://example.com/cat.jpg")
    page.get_by_role("textbox", name="Message as").fill("look")
    page.route("**/phone/texts", lambda route: route.abort(), times=1)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("offhook is not responding")
    expect(page.get_by_label("Or a link")).to_be_visible()
    expect(page.get_by_label("Or a link")).to_have_value("https://example.com/cat.jpg")
    expect(page.get_by_role("textbox", name="Message as")).to_have_value("look")
    visit.complaints.clear()  # the browser itself reports the request that failed


def test_twenty_people_write_at_once_and_all_are_answered(visit: Visit) -> None:
    visit.page.locator("#trouble summary").click()
    visit.page.get_by_role("button", name="20 people write at once").click()
    for number in range(1, 21):
        entry = visit.page.locator(".entry", has_text=re.compile(rf"Caller {number}\b"))
        expect(entry).to_contain_text(f"You said: Hello from caller {number}")
    callers = visit.page.locator(".entry", has_text="Caller")
    unread = callers.get_by_role("img", name="new messages")
    expect(unread).to_have_count(20)
    visit.talk_to("Caller 7")
    expect(visit.theirs("You said: Hello from caller 7")).to_be_visible()
    expect(unread).to_have_count(19)


def test_a_failed_handler_is_told_to_the_person_and_explained_on_the_line(visit: Visit) -> None:
    visit.say("break")
    expect(visit.mine("break")).to_contain_text("failed for good")
    notice = visit.page.locator(".bubble.theirs")
    expect(notice).to_contain_text(re.compile("offhook.s notice"))
    expect(notice).to_contain_text("something went wrong")
    expect(visit.mine("break")).to_contain_text("ValueError: nobody has thought of this")
    line = visit.line_of(visit.mine("break"))
    expect(line.locator(".course")).to_contain_text("ValueError: nobody has thought of this")
    line.get_by_text("Traceback", exact=True).click()
    expect(line.get_by_label("Traceback")).to_contain_text("nobody has thought of this")


def test_a_message_says_what_it_waits_behind_and_that_one_is_retried_now(visit: Visit) -> None:
    visit.say("not yet")
    expect(visit.mine("not yet")).to_contain_text("put off; next attempt in 1")
    visit.say("hello")
    expect(visit.mine("hello")).to_contain_text("waiting behind 1")
    line = visit.line_of(visit.mine("not yet"))
    expect(line).to_contain_text(re.compile(r"Next attempt at \d\d:\d\d:\d\d"))
    expect(line.get_by_role("button", name="Retry now")).to_be_visible()
    visit.line_of(visit.mine("hello"))
    expect(line).to_contain_text(re.compile("Waiting behind “not yet”: its next attempt is at"))
    line.get_by_role("button", name="Retry it now").click()
    expect(visit.theirs("Now it is time")).to_be_visible()
    expect(visit.theirs("You said: hello")).to_be_visible()
    expect(visit.mine("hello")).not_to_contain_text("waiting behind")
    expect(line).not_to_contain_text("Waiting behind")
    expect(line.get_by_role("button", name="Retry it now")).to_have_count(0)


def test_details_that_were_opened_before_a_message_was_sorted_follow_it(
    visit: Visit, home: Home
) -> None:
    visit.say("not yet")
    expect(visit.mine("not yet")).to_contain_text("put off; next attempt in 1")
    with unsorted(home):
        visit.say("hello")
        expect(visit.mine("hello")).to_contain_text("acknowledged")
        line = visit.line_of(visit.mine("hello"))
    expect(line).to_contain_text("Waiting behind “not yet”")


def test_details_that_arrive_late_are_fetched_again(visit: Visit, home: Home) -> None:
    visit.page.set_viewport_size({"width": 1000, "height": 800})  # opens no details by itself
    visit.turn("Answer 429", on=True)  # or the statuses of notices would be sorted, too
    visit.say("not yet")
    expect(visit.mine("not yet")).to_contain_text("put off; next attempt in 1")
    with unsorted(home):
        visit.say("hello")
        expect(visit.mine("hello")).to_contain_text("acknowledged")
        held = hold(visit.page, "**/phone/lines/*")
        visit.mine("hello").locator(".bubble-box").click()
        request = held()
        before = request.fetch()
    address = request.request.url
    until(lambda: "Waiting behind" in visit.page.request.get(address).text())
    visit.turn("Deliver twice", on=True)  # the page hears of it after it has heard of the sorting
    expect(visit.page.locator("#trouble-count")).to_have_text("2")
    request.fulfill(response=before)
    expect(visit.page.locator("#line")).to_contain_text("Waiting behind “not yet”")


def test_the_details_say_that_the_handler_is_running(visit: Visit, home: Home) -> None:
    with unsorted(home):
        visit.say("wait")
        expect(visit.mine("wait")).to_contain_text("acknowledged")
        line = visit.line_of(visit.mine("wait"))
    expect(line).to_contain_text(re.compile(r"The handler is running\. \d+\ss"))
    expect(visit.mine("wait")).to_contain_text(re.compile(r"running \d+\ss"))
    (home.directory / "go").touch()
    expect(line).to_contain_text("Handler wait, attempt 1: returned.")
    expect(line).not_to_contain_text("The handler is running.")


def test_details_follow_their_message_when_others_were_open_just_before(
    visit: Visit, home: Home
) -> None:
    (home.directory / "go").unlink(missing_ok=True)
    visit.turn("Answer 429", on=True)
    visit.say("hello")
    reply = visit.theirs("You said: hello")
    expect(reply).to_contain_text("waiting: 429")
    visit.say("wait")
    running = "The handler is running."
    expect(visit.line_of(visit.mine("wait"))).to_contain_text(running)
    visit.line_of(reply)

    visit.page.clock.install()
    visit.page.clock.pause_at(datetime.now() + timedelta(hours=1))  # noqa: DTZ005 - the page's
    visit.order("switches", {"switch": FaultSwitch.LIMIT, "on": False})
    expect(reply).to_have_attribute("data-state", "delivered")
    visit.order("switches", {"switch": FaultSwitch.LIMIT, "on": True})
    line = visit.line_of(visit.mine("wait"))
    expect(line).to_contain_text(running)
    (home.directory / "go").touch()
    expect(visit.mine("wait")).to_have_attribute("data-state", "handled")
    visit.page.clock.resume()
    expect(line).to_contain_text("Handler wait, attempt 1: returned.")


def test_a_slow_handler_is_bridged_by_a_notice(visit: Visit) -> None:
    visit.say("think")
    notice = visit.page.locator(".bubble.theirs").filter(has_text="One moment please")
    expect(notice).to_contain_text(re.compile("offhook.s notice"))
    expect(visit.theirs("42")).to_have_attribute("data-state", "delivered")
    line = visit.line_of(visit.mine("think"))
    expect(line.get_by_role("link", name="Notice")).to_be_visible()
    expect(line.get_by_role("link", name="Reply")).to_be_visible()


def test_whatsapp_has_places_buttons_and_a_profile(visit: Visit) -> None:
    visit.meet("Grace", channel="whatsapp")
    page = visit.page
    page.get_by_role("button", name="Attach").click()
    page.get_by_role("button", name="Location").click()
    page.get_by_label("Place").fill("Ferry Building")
    page.get_by_label("Latitude").fill("37.7955")
    page.get_by_label("Longitude").fill("-122.3937")
    page.get_by_role("button", name="Send", exact=True).click()
    reply = visit.theirs("Grace is at Ferry Building: 37.7955, -122.3937")
    expect(reply).to_have_attribute("data-state", "read")

    page.get_by_role("button", name="Attach").click()
    page.get_by_role("button", name="Button", exact=True).click()
    page.get_by_label("Button text").fill("Yes")
    page.get_by_label("Payload").fill("order:yes")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(visit.theirs("You pressed Yes: order:yes")).to_be_visible()


def test_a_picture_goes_to_the_bot_and_comes_back(visit: Visit, tmp_path: Path) -> None:
    picture = tmp_path / "pixel.png"
    picture.write_bytes(PIXEL)
    visit.page.get_by_role("button", name="Attach").click()
    visit.page.get_by_label("From this computer").set_input_files(picture)
    visit.say("look")
    expect(visit.theirs("Seen").get_by_role("img", name="pixel.png")).to_be_visible()
    shown = visit.theirs("Seen").locator("img")
    assert shown.evaluate("picture => picture.naturalWidth") == 1


def test_media_from_elsewhere_is_a_link_and_is_not_loaded(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Attach").click()
    visit.page.get_by_label("Or a link").fill("https://example.com/cat.jpg")
    visit.say("look")
    expect(visit.theirs("Seen").get_by_role("link", name="cat.jpg")).to_be_visible()


def test_somebody_new_can_write(visit: Visit) -> None:
    page = visit.page
    page.get_by_text("New contact").click()
    page.get_by_label("Number").fill("+49 151 (123) 456-78")
    page.get_by_label("Name").fill("Konrad")
    page.get_by_label("Channel").select_option("WhatsApp")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#talk").get_by_role("heading")).to_have_text("Konrad")
    visit.say("hallo")
    expect(visit.theirs("You said: hallo")).to_have_attribute("data-state", "read")


def test_a_number_that_is_none_is_refused_with_a_reason(visit: Visit) -> None:
    visit.page.get_by_text("New contact").click()
    visit.page.get_by_label("Number").fill("12")
    visit.page.get_by_role("button", name="Add").click()
    expect(visit.page.get_by_role("alert")).to_contain_text("a number looks like +15551230001")
    visit.complaints.clear()  # the browser itself reports the 400


def test_what_people_write_is_text_and_nothing_else(visit: Visit) -> None:
    text = '<img src=x onerror="document.title=1"><script>document.title=2</script>{{ 7 * 7 }}'
    visit.say(text)
    expect(visit.mine(text)).to_be_visible()
    expect(visit.theirs(f"You said: {text}")).to_be_visible()
    visit.line_of(visit.mine(text))
    expect(visit.page).to_have_title("Phone · offhook")


def test_all_can_be_done_from_the_keyboard(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("textbox", name="Message as").focus()
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    expect(visit.theirs("You said: hello")).to_have_attribute("data-state", "delivered")
    expect(page.get_by_role("textbox", name="Message as")).to_have_value("")
    expect(page.get_by_role("textbox", name="Message as")).to_be_focused()
    opener = visit.theirs("You said: hello").get_by_role("link")
    for _ in range(2):  # past the button that attaches
        page.keyboard.press("Shift+Tab")
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#line")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_a_new_profile_loads_less_than_100_kilobytes_keeps_no_token_and_keeps_its_colours(
    browser: Browser, link: str
) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with visiting(browser, link) as visit:
        assert visit.page.url == f"{visit.base}/phone", "without the link's token"
        loaded: dict[str, int] = visit.page.evaluate(
            "Object.fromEntries(performance.getEntries().filter(one => 'encodedBodySize' in one)"
            ".map(one => [one.name.split('/').pop(), one.encodedBodySize]))"
        )
        parts = {name: size for name, size in loaded.items() if name.endswith((".css", ".js"))}
        assert parts.keys() >= {"offhook.css", "phone.css", "phone.js", "talk.js", "theme.js"}
        assert all(parts.values()), "each was loaded, none came from the cache"
        assert sum(loaded.values()) < 100_000

        light = visit.page.evaluate(paper)
        button = visit.page.get_by_role("button", name="Theme")
        button.click()
        button.click()
        expect(button).to_have_accessible_name("Theme: dark")
        assert visit.page.evaluate(paper) != light
        visit.page.reload()
        expect(button).to_have_accessible_name("Theme: dark")


def test_a_changed_bot_answers_on_the_page_that_is_open(browser: Browser, tmp_path: Path) -> None:
    home = Home(tmp_path, BOT)
    with dev(home, reload=True) as running, visiting(browser, link_of(running)) as visit:
        visit.say("hello")
        expect(visit.theirs("You said: hello")).to_be_visible()
        picture = tmp_path / "pixel.png"
        picture.write_bytes(PIXEL)
        visit.page.get_by_role("button", name="Attach").click()
        visit.page.get_by_label("From this computer").set_input_files(picture)
        visit.say("look")
        expect(visit.theirs("Seen")).to_be_visible()

        home.write_bot(BOT.replace("return f", "return return f"))
        broken = visit.page.locator("#broken")
        expect(broken).to_contain_text("return return")
        expect(broken).to_contain_text("SyntaxError: invalid syntax")
        visit.page.goto(f"{visit.base}/")
        expect(visit.page).to_have_url(f"{visit.base}/phone")
        expect(broken).to_contain_text("SyntaxError: invalid syntax")
        assert violations(visit.page) == []

        home.write_bot(BOT.replace("You said:", "You now said:"))
        running.wait_for("reloaded")
        expect(visit.page.locator("#live")).to_have_text("live")
        visit.say("again")
        expect(visit.theirs("You now said: again")).to_have_attribute("data-state", "delivered")
        expect(visit.theirs("You said: hello")).to_be_visible()
        shown = visit.theirs("Seen").locator("img")
        assert shown.evaluate("picture => picture.naturalWidth") == 1
        visit.complaints.clear()  # the browser itself reports the streams that ended


def test_a_narrow_page_shows_one_thing_at_a_time(visit: Visit) -> None:
    for width in (900, 390):
        visit.page.set_viewport_size({"width": width, "height": 800})
        visit.meet("Ada")
        visit.say("hello")
        visit.line_of(visit.theirs("You said: hello"))
        visit.page.get_by_role("button", name="Close").click()
        expect(visit.page.locator("#line")).to_be_hidden()
        if width == 390:
            visit.page.get_by_role("link", name="Back to conversations").click()
        visit.talk_to("Alan")
        expect(visit.page.get_by_role("textbox", name="Message as Alan")).to_be_visible()
        overflow = "document.documentElement.scrollWidth - innerWidth"
        assert visit.page.evaluate(overflow) <= 0
