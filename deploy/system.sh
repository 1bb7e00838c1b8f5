#!/usr/bin/env bash
# What a virtual environment cannot bring: Python's venv module, and a Java 17 or 21 for Spark.
# Installs it where this is root on Debian or Ubuntu, else says in one line what to type.
#
#     deploy/system.sh venv PYTHON | java
set -euo pipefail

install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "installing $1"
  apt-get update -qq >/dev/null 2>&1 || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null 2>&1
}

venv_works() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

java_version() {
  "${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -nE 's/.* version "([0-9]+).*/\1/p' | head -n 1
}

java_works() { case "$(java_version || true)" in 17 | 21) return 0 ;; *) return 1 ;; esac }

case "${1:-}" in
  venv)
    venv_works "$2" || { install python3-venv && venv_works "$2"; } || {
      echo "$2 has no venv module; type: sudo apt-get install -y python3-venv" >&2
      exit 2
    }
    ;;
  java)
    java_works && exit 0
    for package in openjdk-17-jre-headless openjdk-21-jre-headless; do
      if install "$package" && java_works; then exit 0; fi
    done
    echo "Spark needs Java 17 or 21, found ${JAVA_HOME:-}$(java_version || true); type: sudo apt-get install -y openjdk-17-jre-headless" >&2
    exit 2
    ;;
  *)
    echo "usage: deploy/system.sh venv PYTHON | java" >&2
    exit 2
    ;;
esac
