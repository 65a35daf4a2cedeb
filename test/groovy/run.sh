#!/bin/sh
# Runs the tests of the shared library in vars/ on the Groovy that Jenkins embeds, with the CPS transformation and the sandbox
# of its Pipeline plugins. Needs a JDK 17 or later and Maven, which fetches four jars; everything else is in this repository.
#
#   test/groovy/run.sh          all tests
#   test/groovy/run.sh TEXT     those whose name contains TEXT; LOG=1 prints the log of the last build of each, SLOW=1 the slowest,
#                               CLASSES=StageTest,BinaryTest leaves the others out, UPDATE=1 writes the log in docs/jenkins.md
set -eu
cd "$(dirname "$0")/../.."

missing() { echo "make groovy: $1 is missing: apt-get install $2 (brew install $3)" >&2; exit 1; }
command -v java >/dev/null 2>&1 || missing "Java (17 or later)" openjdk-17-jdk-headless openjdk@17
major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${major:-0}" -ge 17 ] || missing "Java 17 or later (there is ${major:-none})" openjdk-17-jdk-headless openjdk@17

checked() { if command -v sha256sum >/dev/null 2>&1; then sha256sum -c --status -; else shasum -a 256 -c --status -; fi; }

bin=.cache/groovy
mkdir -p $bin/lib
# The jars, by checksum. Maven and its own configuration know where from.
jars=
while read -r sum group artifact version; do
  jar=$bin/lib/$artifact-$version.jar
  if ! echo "$sum  $jar" | checked 2>/dev/null; then
    command -v mvn >/dev/null 2>&1 || missing Maven maven maven
    mvn -q -B -Dstyle.color=never dependency:copy -Dartifact="$group:$artifact:$version" -DoutputDirectory="$PWD/$bin/lib" -Dmdep.overWriteReleases=true -Dtransitive=false ||
      { echo "make groovy: Maven could not fetch $group:$artifact:$version" >&2; exit 1; }
    echo "$sum  $jar" | checked || { echo "make groovy: $jar is not what it was: its checksum differs" >&2; exit 1; }
  fi
  jars=$jars:$PWD/$jar
done <<JARS
de65260cf2070442e99882f2f3d72e7531725c1e6a257446cc0cea525c607bd0 org.codehaus.groovy groovy-all 2.4.21
a2176d9e2d27a34ea74d3d55db51b76003c2fa21c84a402af157d6a0e870d661 com.cloudbees groovy-cps 1.24
606b2fe4bab1fc40f5816d81c9daa31348df7de0e3ad97c3031a786f0fcd12da org.kohsuke groovy-sandbox 1.19
aa7cef9d2ba0110a2db7be0fb6e679cd71f6a26fc3ba9da7715f41d3300def1d com.google.guava guava 11.0.1
JARS

go build -o $bin/rollback .
go build -o $bin/world ./test/groovy/world
open=
for p in java.lang java.util java.io java.lang.reflect java.util.regex; do open="$open --add-opens java.base/$p=ALL-UNNAMED"; done
options="$open -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xss4m -Dfile.encoding=UTF-8"
rm -rf $bin/classes && mkdir $bin/classes
java $options -cp "$jars" org.codehaus.groovy.tools.FileSystemCompiler -cp "$jars" -d $bin/classes test/groovy/*.groovy
exec java $options -Dtest.only="${1:-}" -Dtest.slow="${SLOW:-}" -Dtest.log="${LOG:-}" -Dtest.update="${UPDATE:-}" ${CLASSES:+-Dtest.classes="$CLASSES"} -Dtest.dir="$PWD/test/groovy" -Dtest.bin="$PWD/$bin" -Dtest.library="$PWD" \
  -cp "$PWD/$bin/classes$jars" Suite
