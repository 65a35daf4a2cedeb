class BinaryTest { void run() {} }
