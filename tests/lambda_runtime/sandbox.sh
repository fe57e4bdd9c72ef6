#!/bin/sh
# Runs a program as Lambda's execution environment would: sandbox.sh STAGE FUNCTION LAYER RUNTIME PROGRAM...
#
# STAGE is an empty folder; the function's code appears as /var/task, the layer as /opt, boto3 and the runtime interface
# client as /var/runtime. All is read-only but /tmp, there is no /dev/shm, and 1,024 files can be open. In namespaces of
# users and mounts, which end with the program; needs no root where the kernel lets users have them.
set -eu

[ "$1" = --inside ] || exec unshare --map-root-user --mount --propagation private "$0" --inside "$@"
shift
stage=$1 function=$2 layer=$3 runtime=$4
shift 4

mount -t tmpfs tmpfs "$stage"
mkdir -p "$stage/opt" "$stage/var/task" "$stage/var/runtime"
mount --bind "$layer" "$stage/opt"
mount --bind "$function" "$stage/var/task"
mount --bind "$runtime" "$stage/var/runtime"
mount --bind "$stage/opt" /opt
mount --rbind "$stage/var" /var
mount -t tmpfs tmpfs /tmp
mount -t tmpfs -o ro tmpfs /dev/shm
cut -d ' ' -f 2 /proc/self/mounts | while read -r mounted; do
    case $mounted in
        /proc | /proc/* | /sys | /sys/* | /dev | /dev/* | /tmp | /tmp/*) ;;
        *) mount -o remount,bind,ro "$mounted" ;;
    esac
done

cd /var/task
ulimit -n 1024
exec env -u PWD -u OLDPWD "$@"
