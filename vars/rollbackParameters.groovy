// rollbackParameters are the parameters of the page "Build with Parameters", for properties([parameters(...)]). Each is named
// like the variable of the flag that it stands for, and says what the flag says; commands/vars_test.go sees to that.
List own() {
    return ['none', 'services', 'environments', 'also']
}

List call(Map args = [:]) {
    rollbackCommand.refuse('rollbackParameters', rollbackCommand.mistake(args, own()))
    List list = []
    if (args.containsKey('services')) {
        list.add(oneOf('ROLLBACK_SERVICE', args.get('services'), 'service to roll back'))
    }
    if (args.containsKey('environments')) {
        list.add(oneOf('ROLLBACK_ENVIRONMENT', args.get('environments'), 'environment it runs in'))
    }
    List methods = ['retag', 'revert', 'undo']
    if (rollbackCommand.text(args.get('none')) != 'false') { // a pipeline that does something else as well must not roll back by default
        methods = ['none'] + methods
    }
    list.addAll([
        choice(name: 'ROLLBACK_METHOD', choices: methods, description: 'how: retag moves the tag and restarts, revert undoes the commit and follows its build, undo takes the last rollback back (default: retag)'),
        string(name: 'ROLLBACK_TO', defaultValue: 'previous', trim: true, description: 'target: previous, a commit, a tag or a digest (default: previous)'),
        string(name: 'ROLLBACK_REASON', defaultValue: '', trim: true, description: 'why, for the record and for whoever meets the lock'),
        booleanParam(name: 'ROLLBACK_DRY_RUN', defaultValue: false, description: 'show the plan and stop'),
        string(name: 'ROLLBACK_ACCEPT', defaultValue: '', trim: true, description: 'go on in spite of these blocking findings, codes separated by commas'),
        booleanParam(name: 'ROLLBACK_ACCEPT_MIGRATIONS', defaultValue: false, description: 'the older code works with the newer schema: undo migrations\' code all the same'),
        string(name: 'ROLLBACK_WAIT', defaultValue: '', trim: true, description: 'with --method revert: how long to wait for the merge, merge for an hour (default: not at all, exit 3)'),
        string(name: 'ROLLBACK_ID', defaultValue: '', trim: true, description: 'leave empty: rollback trigger finds its own build by it'),
    ])
    return list + (args.get('also') ?: [])
}

// oneOf is a parameter with these choices, or a field where there are none.
Object oneOf(String name, Object given, String description) {
    List choices = rollbackCommand.words(given)
    if (choices.isEmpty()) {
        return string(name: name, defaultValue: '', trim: true, description: description)
    }
    return choice(name: name, choices: choices, description: description)
}
