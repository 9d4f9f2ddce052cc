#!/bin/sh
# Written by amdgpu.fleet
# The kubelet runs it before it tells a server to stop, whose engine would break off what runs:
#   sh pod_drain.sh FIRST_SECONDS SECONDS NAME_OF_THE_KEY URL...
# It needs a shell with its usual tools, and curl. Whatever it ends with, the server is stopped; without curl Kubernetes tells the reason.
first=$1 seconds=$2
key=$(printenv "$3" | sed 's/[\\"]/\\&/g')
shift 3
command -v curl > /dev/null || { echo "There is no curl in this image, so requests that run are not waited for." >&2; exit 1; }

# As engines call them: any number but 0.
running='^[a-z]+:(num_requests_(running|waiting)|requests_(processing|deferred))([{].*[}])? +[0-9.]*[1-9]'

# The page, and below it its status. The key comes by a pipe: the list of processes shows arguments.
page() {
    if [ -n "$key" ]; then
        printf 'header = "Authorization: Bearer %s"\n' "$key" |
            curl --silent --max-time 10 --write-out '\nstatus %{http_code}\n' --config - "$1"
    else
        curl --silent --max-time 10 --write-out '\nstatus %{http_code}\n' "$1"
    fi
}

busy() {
    for url; do
        text=$(page "$url")
        # 28: it took the request and says nothing, as one does that computes a long prompt.
        [ $? -ne 28 ] || return 0
        case $url in
            # A model of a router that comes or goes: a request may wait for it, or for the one that takes its place.
            *model=*) ! printf '%s\n' "$text" | grep -Eq '^status 50[0234]$' || return 0 ;;
        esac
        ! printf '%s\n' "$text" | grep -Eq "$running" || return 0
    done
    return 1
}

# Until everybody knows that this pod gets no more requests, new ones come.
sleep "$first"
end=$(($(date +%s) + seconds))
calm=0
# Twice in a row: between two requests there is a moment.
while [ "$calm" -lt 2 ] && [ "$(date +%s)" -lt "$end" ]; do
    if busy "$@"; then calm=0; else calm=$((calm + 1)); fi
    sleep 1
done
exit 0
