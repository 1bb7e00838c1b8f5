#!/usr/bin/env bash
# An environment for Spark's --archives that needs no Python where it is unpacked: the interpreter, the
# libraries it is linked with, and Millrace with its dependencies. bin/python finds all of it by its own place.
#
#     deploy/environment.sh PYTHON UV WHEEL CONSTRAINTS OUT.tar.gz [PACKAGE...]
#
# The PACKAGEs are left out, with what only they need: `torch` where every model is ONNX or OpenVINO.
# With UV_TORCH_BACKEND=cpu uv takes torch without CUDA, from PyTorch's own index.
set -euo pipefail

python=$1 uv=$2 wheel=$3 constraints=$4 out=$5
shift 5

read -r base minor < <("$python" -c 'import sys; print(sys.base_prefix, f"{sys.version_info[0]}.{sys.version_info[1]}")')
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
env=$made/environment
mkdir -p "$env/bin" "$env/lib"

# The interpreter: its own library, and of its standard one what a run may import.
cp -L "$base/bin/python$minor" "$env/bin/"
cp -a "$base/lib/python$minor" "$env/lib/"
find "$base/lib" -maxdepth 1 -name 'libpython*.so*' -exec cp -a {} "$env/lib/" \;
stdlib=$env/lib/python$minor
rm -rf "$stdlib"/{test,idlelib,tkinter,turtledemo,lib2to3,ensurepip,site-packages,config-*} "$stdlib"/lib-dynload/{_tkinter,_test,xx}*
mkdir "$stdlib/site-packages"

# What it is linked with, but for glibc, which every machine has and which must fit its kernel.
glibc='/(ld-linux[^/]*|lib(c|m|dl|rt|util|pthread|resolv|nsl|anl))\.so'
{ ldd "$stdlib"/lib-dynload/*.so || true; } | awk '$3 ~ /^\// { print $3 }' | sort -u \
  | grep -Ev "$glibc" | grep -v "^$base/" | xargs -r cp -L -t "$env/lib/"

cat >"$env/bin/python" <<EOF
#!/bin/sh
# The interpreter looks for its libraries where it was built; this tells it where they are now.
here=\$(CDPATH= cd -- "\$(dirname -- "\$(readlink -f -- "\$0")")" && pwd)
LD_LIBRARY_PATH="\${here%/bin}/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "\$here/python$minor" "\$@"
EOF
chmod +x "$env/bin/python"

printf '%s\n' "$@" >"$made/left-out"
LD_LIBRARY_PATH=$env/lib "$uv" pip install --quiet --python "$env/bin/python$minor" --break-system-packages \
  --compile-bytecode -c "$constraints" --excludes "$made/left-out" "$wheel"
rm -rf "$stdlib"/site-packages/pyspark/{jars,examples,data}  # Spark's own are beside every executor
find "$env/bin" -type f ! -name 'python*' -delete  # they name this machine's interpreter

mkdir -p "$(dirname "$out")"
tar -C "$env" -cf - . | gzip -1 >"$out"
du -m "$out" | awk '{ print $2 ": " $1 " MB" }'
