# How the examples get a RabbitMQ; POSIX sh, for scripts that have sourced environment.sh and called set_up.
#
# INSTALL=no leaves the machine's packages as they are.

policy=/usr/sbin/policy-rc.d
own_policy=

# find_broker PYTEST-ARGUMENT…: sets $no_broker to "", or to a line that says what is missing and how to get it
find_broker() {
    no_broker=
    if broker_is_there "$@"; then
        return
    fi
    remedy="sudo apt-get install rabbitmq-server, or a Docker engine that has or can get the image rabbitmq:4, brings one"
    if ! command -v apt-get >/dev/null; then
        remedy="the package rabbitmq-server of your system, or a Docker engine that has or can get the image rabbitmq:4, brings one"
    elif may_install; then
        say "there is no RabbitMQ: installing the package rabbitmq-server (no broker of the machine is started or enabled)"
        if install_broker && broker_is_there "$@"; then
            return
        fi
        remedy="installing rabbitmq-server failed, see above; $remedy"
    fi
    no_broker="there is no RabbitMQ: tests with messages are left out; $remedy"
}

# broker_is_there PYTEST-ARGUMENT…: the plugin would find a broker, or was told where to look and will say by itself
broker_is_there() {
    "$python" scripts/broker-here "$@"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# may_install: this user may, and does not mind
may_install() {
    [ "${INSTALL:-yes}" != no ] && as_root true 2>/dev/null
}

# install_broker: the package, without the service that it would start and enable
install_broker() {
    had_erlang=$(command -v erl || true)
    trap permit_services EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    code=0
    { forbid_services && as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends rabbitmq-server >/dev/null &&
        disable_services; } || code=$?
    permit_services
    trap - EXIT HUP INT TERM
    return "$code"
}

# forbid_services: what is installed now is not started; a policy that is there is the machine's, and stays, but for one
# that a run of ours has left which was killed: with it no package could start a service any more
forbid_services() {
    writer=$(sed -n 's/^# while scripts\/broker.sh runs as process \([0-9]*\)$/\1/p' "$policy" 2>/dev/null || true)
    if [ -n "$writer" ] && [ ! -d "/proc/$writer" ]; then
        own_policy=$policy
    elif [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
        own_policy=$policy
        printf '#!/bin/sh\n# while scripts/broker.sh runs as process %s\nexit 101\n' $$ | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy"
    fi
}

permit_services() {
    if [ -n "$own_policy" ]; then
        as_root rm -f "$own_policy"
        own_policy=
    fi
}

# disable_services: nor are they started with the machine
disable_services() {
    as_root update-rc.d rabbitmq-server disable >/dev/null 2>&1 || true
    if command -v systemctl >/dev/null; then
        # an Erlang that was there before keeps its daemon
        [ -n "$had_erlang" ] || as_root systemctl --root=/ --quiet disable epmd.service epmd.socket || true
        as_root systemctl --root=/ --quiet disable rabbitmq-server.service || true
    fi
}

# addresses_without_broker: what the example's application reads from its environment, but for the broker's address
addresses_without_broker() {
    "$python" -c '
import tomllib

with open("pyproject.toml", "rb") as file:
    lines = tomllib.load(file)["tool"]["pytest"]["ini_options"]["testbed_env"]
print("\n".join(line for line in lines if "{rabbitmq." not in line))'
}
