"""What a registry means: one module per noun, without HTTP and without SQL.

Plain functions take a Transaction and a Call and run inside one metadata transaction; coroutines
take the Emulator and put blob I/O and transactions in order. Both planes call the same ones.
"""
