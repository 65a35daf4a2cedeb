class SafetyTest { void run() {} }
