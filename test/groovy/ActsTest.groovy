class ActsTest { void run() {} }
