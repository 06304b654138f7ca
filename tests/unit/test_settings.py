"""Settings: where they come from, which source wins, and what is refused."""

import pytest

from ecr_emulator.settings import Settings, SettingsError, load


def test_the_defaults_serve_on_loopback():
    settings = load({}, {})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.account_id) == ("127.0.0.1", 4510, "000000000000")


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(tmp_path):
    file = tmp_path / "emulator.toml"
    file.write_text('port = 1\nregion = "eu-west-1"\nauth = "token"\n')
    environment = {"ECR_EMULATOR_PORT": "2", "ECR_EMULATOR_REGION": "eu-west-2", "PORT": "9"}
    settings = load({"port": 3, "region": None, "unrelated": "x"}, environment, file)
    assert (settings.port, settings.region, settings.auth) == (3, "eu-west-2", "token")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": 65536}, "port must be between 0 and 65535, not 65536"),
        ({"port": -1}, "port must be between 0 and 65535, not -1"),
        ({"port": "80"}, "port must be of type int, not '80'"),
        ({"port": True}, "port must be of type int, not True"),
        ({"scan_timeout": 0}, "scan_timeout must be at least 1, not 0"),
        ({"scan_max_size": -1}, "scan_max_size must be at least 1, not -1"),
        ({"metadata_url": "mysql://a/b"}, "metadata_url must begin with postgresql://"),
        ({"account_id": "123"}, "account_id must be 12 digits, not '123'"),
        ({"region": "EU"}, "region must be 2 to 25 lower-case letters, digits and hyphens, not 'EU'"),
        ({"auth": "maybe"}, "auth must be one of off, token, strict, not 'maybe'"),
        ({"tls": "yes"}, "tls must be one of off, on, not 'yes'"),
        ({"tls": "on", "tls_key": "a"}, "tls_certificate and tls_key need each other"),
        ({"tls": "on", "tls_certificate": "a"}, "tls_certificate and tls_key need each other"),
        ({"tls_certificate": "a", "tls_key": "b"}, "tls_certificate needs tls to be on"),
        ({"layer_check": "on"}, "layer_check must be one of strict, off, not 'on'"),
        ({"upstreams": "quay.io"}, "upstreams must be of type dict, not 'quay.io'"),
        ({"upstreams": {"a": "b:1"}}, "upstreams must have an http or https URL for a, not 'b:1'"),
        ({"event_sinks": "file:a"}, "event_sinks must be of type list, not 'file:a'"),
        ({"event_sinks": [1]}, "event_sinks must have texts, not 1"),
        ({"upstreams": {"a": 1}}, "upstreams must have an http or https URL for a, not 1"),
        (
            {"upstreams": {"a": "http://b/?c"}},
            "upstreams must have an http or https URL for a, not 'http://b/?c'",
        ),
    ],
)
def test_a_value_out_of_its_range_is_refused(values, message):
    with pytest.raises(SettingsError) as raised:
        Settings(**values)
    assert str(raised.value) == message


UPSTREAMS = {"quay.io": "http://127.0.0.1:5000", "ghcr.io": "https://user:pass=word@mirror/ghcr"}


def test_a_table_is_pairs_on_the_command_line_and_in_the_environment(tmp_path):
    text = ", ".join(f"{host}={url}" for host, url in UPSTREAMS.items())
    file = tmp_path / "emulator.toml"
    file.write_text('[upstreams]\n"quay.io" = "http://elsewhere"\n')
    assert load({}, {}, file).upstreams == {"quay.io": "http://elsewhere"}
    assert load({}, {"ECR_EMULATOR_UPSTREAMS": text}, file).upstreams == UPSTREAMS
    assert load({"upstreams": text}, {"ECR_EMULATOR_UPSTREAMS": "a=http://b"}, file).upstreams == UPSTREAMS
    assert load({"upstreams": ""}, {}, file).upstreams == {}


def test_a_list_is_separated_by_commas_on_the_command_line_and_in_the_environment(tmp_path):
    file = tmp_path / "emulator.toml"
    file.write_text('event_sinks = ["file:a", "file:b,c"]\n')
    assert load({}, {}, file).event_sinks == ["file:a", "file:b,c"]
    environment = {"ECR_EMULATOR_EVENT_SINKS": " file:d , http://e/,"}
    assert load({}, environment, file).event_sinks == ["file:d", "http://e/"]
    assert load({"event_sinks": "file:f"}, environment, file).event_sinks == ["file:f"]


@pytest.mark.parametrize("text", ["quay.io", "=http://b", "quay.io=", "a=http://b,c"])
def test_pairs_that_are_wrong_are_refused(text):
    with pytest.raises(SettingsError, match="upstreams must have the form KEY=VALUE"):
        load({"upstreams": text}, {})


def test_a_variable_that_is_no_number_is_refused():
    with pytest.raises(SettingsError, match="port must be a whole number, not 'http'"):
        load({}, {"ECR_EMULATOR_PORT": "http"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = ", "can't read"),
        ("colour = 'red'", "has unknown settings: colour"),
        ("port = 'x'", "port must be of type int, not 'x'"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, text, message):
    file = tmp_path / "emulator.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load({}, {}, file)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="can't read"):
        load({}, {}, tmp_path / "absent.toml")
