"""How a broker is started in a container: with its management API, and without the plugins that nobody needs.

Before its first boot step the broker loads every module of every plugin in its folder, enabled or not; that
is 40 % of its start. In the container's own layer those folders can go.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["QUICK", "TRIED", "start_command"]

TRIED = ("3.", "4.")
"""What the versions begin with on which the quick start was tried; others boot as they are."""

# A broker passes over in silence what it does not have; it may have more elsewhere, where that variable says so
_FIND = """\
if [ -z "$RABBITMQ_PLUGINS_DIR" ] && cd -P /plugins 2>/dev/null; then
    for each in @ENABLED@; do
        set -- "$each"-[0-9]*
        if [ ! -e "$1" ]; then
            echo "pytest-testbed: this image has no plugin $each; correct testbed_rabbitmq_plugins, or testbed_rabbitmq_image" >&2
            echo "it has $(ls -d rabbitmq_* | sed 's/-[0-9].*//' | tr '\\n' ' ')" >&2
            exit 1
        fi
    done
    cd /
fi
"""

# $enabled holds the plugins; their file is the image's own, which may enable some more
_ENABLE = """\
file=${RABBITMQ_ENABLED_PLUGINS_FILE:-/etc/rabbitmq/enabled_plugins}
had=$(sed 's/%.*//' 2>/dev/null <"$file" | tr ',\\n' '  ' | tr -d "[].'")
enabled='@ENABLED@'
for each in $had; do
    case " $enabled rabbitmq_prometheus " in *" $each "*) ;; *) enabled="$enabled $each" ;; esac
done
echo "[$(echo $enabled | tr ' ' ',')]." 2>/dev/null >"$file" || echo "pytest-testbed: $file cannot be written" >&2
"""

QUICK = """\
needed() {
    keep=' ' todo="rabbit rabbitmq_prelaunch $enabled"
    while [ -n "$todo" ]; do
        set -- $todo
        name=$1
        shift
        todo=$*
        case $keep in *" $name "*) continue ;; esac
        app=$(echo "$name"-[0-9]*/ebin/"$name.app")
        if [ ! -f "$app" ]; then
            # of what is packed, or there twice, or enabled and somewhere else, we cannot know what it needs
            case $(echo "$name"-[0-9]*) in "$name-[0-9]*") ;; *) return 1 ;; esac
            case " $enabled " in *" $name "*) return 1 ;; esac
            continue # it is one of Erlang's own
        fi
        keep="$keep$name "
        said=$(tr '\\n' ' ' <"$app" | sed -n 's/.*{applications,[^[]*\\[\\([^]]*\\)\\].*/\\1/p' | tr -c 'a-z0-9_' ' ')
        [ -n "$said" ] || return 1
        todo="$todo $said"
    done
}
if cd -P /plugins 2>/dev/null; then
    case $(echo rabbit-[0-9]*) in
        @TRIED@)
            if needed; then
                for each in *-[0-9]*/; do
                    case $keep in *" ${each%%-[0-9]*} "*) ;; *) rm -rf "$each" 2>/dev/null ;; esac
                done
            fi ;;
    esac
    cd /
fi
""".replace("@TRIED@", "|".join(f"rabbit-{each}*" for each in TRIED))
"""Removes the folders of plugins that no enabled one needs, by what each says it needs itself."""

_START = "exec docker-entrypoint.sh rabbitmq-server\n"


def start_command(plugins: Sequence[str], before: str = "") -> list[str]:
    """Return a container's command that boots a broker with its management API and more plugins.

    Args:
        plugins: what is enabled besides.
        before: what is done before the boot, such as `QUICK`.
    """
    enabled = " ".join(dict.fromkeys(["rabbitmq_management", *plugins]))
    return ["sh", "-c", (_FIND + _ENABLE).replace("@ENABLED@", enabled) + before + _START]
