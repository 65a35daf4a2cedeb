/**
 * What the CPS transformation, the sandbox or a restart would not take, or what leads a secret or a stranger's text into a
 * shell, looked for in the text of the steps. The tests that run them find most of it as well; this finds it on paths that no
 * test takes, and says why.
 */
class Scan {
    static final Map<String, String> REFUSED = [
        (/\.\s*(sort|toSorted|unique|max|min)\s*(\(\s*)?\{/): 'CPS gives a closure that compares a wrong order without failing',
        (/\.\s*(sort|toSorted)\b/): 'sorting belongs in the program',
        (/\.\s*(iterator|listIterator|entrySet|values|keySet)\s*\(\s*\)(?!\.toList\(\))/): 'an iterator or a view is not serialisable and may live across a step',
        (/\.\s*each\w*\s*(\(\s*)?\{/): 'a plain for over a list survives a restart; closures around steps are hard to follow',
        (/JsonSlurper(Classic)?/): 'not serialisable, or not allowed in the sandbox',
        (/\b(Jenkins|Hudson)\s*\.\s*(get|instance|getInstance)\b/): 'the API of Jenkins needs an approval',
        (/\bimport\s+(hudson|jenkins|org\.jenkinsci)\b/): 'the API of Jenkins needs an approval',
        (/\bnew\s+(java\.io\.)?File\b/): 'it would be a file of the controller',
        (/\bnew\s+(java\.net\.)?(URL|URI|Socket)\b/): 'the controller is no HTTP client',
        (/\.\s*execute\s*\(/): 'it would run on the controller',
        (/\b(sh|bat|pwsh)\s*\(?\s*"/): 'a text with values put into it leads them into a shell',
        (/script:\s*"/): 'a text with values put into it leads them into a shell',
        (/\$\{/): 'a GString in a step: use +, so that what is passed on is a String', // shell text has none either, see below
        (/@Grab/): 'not allowed in a library that is not trusted',
        (/rawBuild/): 'needs trust, and is not serialisable',
        (/metaClass/): 'not allowed in the sandbox',
        (/@NonCPS/): 'if a step needs it, its logic belongs in the program',
        (/\bSystem\s*\.\s*(getenv|getProperty|exit)/): 'it is the controller',
        (/\benv\s*\[/): 'not allowed in the sandbox: env.getProperty(name)',
        (/\benv\s*\.\s*getEnvironment\b/): 'not allowed in the sandbox',
        (/\bThread\b|\bsleep\s*\(/): 'a step that waits belongs in the program',
        (/=~|==~/): 'a Matcher is not serialisable',
        (/\bcatch\s*\(/): 'an abort is an exception: nothing is to be caught here',
        (/\b(readFile|writeFile|sh)\s*\((?!.*encoding: 'UTF-8').*/): 'without an encoding it is what controller or agent happen to have',
        (/\becho\s*\(?\s*(args|params|env)\b/): 'arguments are not for the log',
    ]

    /** The lines of a step that break a rule, each with the reason. Scripts for the shell are looked at for one thing: that they are constant. */
    static List<String> of(String name, String text) {
        def found = []
        def code = text.replaceAll(/(?s)'''.*?'''/) { it.replaceAll(/[^\n]/, '').replaceFirst(/^/, "'''") }
        code.readLines().eachWithIndex { line, i ->
            def bare = line.replaceFirst(/(^|\s)\/\/.*$/, '')
            REFUSED.each { pattern, why ->
                if (bare =~ pattern) {
                    found << "${name}:${i + 1}: ${line.trim()}: ${why}".toString()
                }
            }
        }
        found
    }
}
